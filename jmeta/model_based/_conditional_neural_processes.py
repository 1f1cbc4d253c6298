"""Conditional neural processes (Garnelo et al., 2018, 1807.01613)."""

import jax
import jax.numpy as jnp

from jmeta._composition import fitted
from jmeta._options import check_model
from jmeta._types import Key, Learner, Mask, Model, Params
from jmeta.model_based._process import Examples, Representation, neural_process, pooled
from jmeta.model_based._told import encode


def conditional_neural_processes(encoder: Model, decoder: Model, *, lowest_deviation: float = 0.1) -> Learner:
    r"""Predicts a mean and a deviation from the mean of what is said of each example.

    .. math:: r = \frac{1}{n} \sum_i h(x_i, y_i), \quad (\mu, s) = g(x, r), \quad \sigma = \sigma_0 + 0.9\, \mathrm{softplus}(s)

    Outputs are a :class:`jmeta.Gaussian`; the loss is its negative log-likelihood, per number. An example counts what its weight
    says. The query alone is judged, where the authors' targets have the support among them.

    Args:
      encoder: h, ``[n, inputs + targets] -> [n, r]``; inputs and targets are flattened.
      decoder: g, ``[n, inputs + r] -> [n, 2 k]`` for targets ``[n, k]``.
      lowest_deviation: :math:`\sigma_0`, in units of the targets. What is predicted better is not rewarded: it is to be below the
        noise; 0.1 is the authors', for targets of deviation 1.

    Raises:
      ValueError: if a part is no model or ``lowest_deviation`` not positive; from ``init``, if a part has other outputs, or targets
        are no rows of real numbers.
    """
    check_model("encoder", encoder)

    def init(key: jax.Array, examples: Examples) -> Params:
        return fitted("encoder", "the task", encoder, key, examples.pairs)[0]

    def read(params: Params, examples: Examples, key: Key) -> jax.Array:
        return pooled(encode(encoder, params, examples.pairs, key=key, mask=examples.mask), examples.counts)

    def at(params: Params, found: jax.Array, x: jax.Array, key: Key, mask: Mask) -> jax.Array:
        del params, key, mask
        return jnp.broadcast_to(found, (len(x), len(found)))

    return neural_process(decoder, path=Representation(init, read, at), lowest_deviation=lowest_deviation)
