"""A learned update rule (Andrychowicz et al., 2016, 1606.04474; its features as of Metz et al., 2019, 1810.10180)."""

import jax
import jax.numpy as jnp
import optax

from jmeta._adjoints import Adjoint
from jmeta._composition import outputs_like
from jmeta._learners import from_params, gradient_based, predict_with
from jmeta._options import check_model, check_positive
from jmeta._sentences import kinds
from jmeta._types import Episode, Learner, LossFn, Model, Params
from jmeta._validation import checked_init

DECAY = 0.9
# Of the mean of squares, so that a gradient of zeros has a derivative.
SMALL = 1e-8
FEATURES = 3


def learned_update_rule(
    model: Model, loss_fn: LossFn, rule: Model, *, inner_rate: float = 0.01, num_steps: int = 1, adjoint: Adjoint | None = None
) -> Learner:
    r"""Learns initial weights and how a weight moves, by a small network that is the same for all of them.

    For a weight w with gradient g and momentum m, of a tensor whose gradient has the root mean square r, the network says a
    direction d and a scale s:

    .. math::
        (d, s) = h\left(\frac{g}{r}, \frac{m}{r}, \frac{w}{\mathrm{rms}(w)}\right), \quad w \leftarrow w - \alpha (e^s g + r d)

    A network that gives zeros is gradient descent, which is where a small one starts. Parameters are ``{"initial": weights,
    "rule": those of h}``; the rule is an optax transformation inside. Rules that are learnt spike: clip the outer gradient.

    Differs from the papers, whose rule is recurrent (Andrychowicz) or sees several time scales (Metz); here the momentum is all
    that remembers.

    Args:
      model: the network; all of its parameters are adapted.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      rule: h, ``[weights, 3] -> [weights, 2]``.
      inner_rate: :math:`\alpha`.
      num_steps: the number of inner steps in training.
      adjoint: how to differentiate through them; ``unrolled()`` by default.

    Raises:
      ValueError: if a part is no model, ``inner_rate`` is not positive or ``num_steps`` negative; from ``init``, if h does not give
        two numbers for each weight, or is not differentiable at a zero gradient.
    """
    check_model("model", model)
    check_model("rule", rule)
    check_positive(inner_rate=inner_rate)

    def init(key: jax.Array, episode: Episode) -> Params:
        model_key, rule_key = jax.random.split(key)
        weights = checked_init(model, model_key, episode, loss_fn)
        features = jnp.zeros((1, FEATURES), jnp.result_type(*jax.tree.leaves(weights)))
        params = rule.init(rule_key, features)
        moves = outputs_like(rule.apply, params, features)
        if getattr(moves, "shape", None) != (1, 2):
            raise ValueError(f"rule must give two numbers for each weight, [weights, 2]; got {kinds(moves)} for 1.")
        return {"initial": weights, "rule": params}

    def descent(weights_of_rule: Params) -> optax.GradientTransformation:
        def begin(params: optax.Params) -> optax.Updates:
            return optax.tree.zeros_like(params)

        def update(
            updates: optax.Updates, state: optax.Updates, params: optax.Params | None = None
        ) -> tuple[optax.Updates, optax.Updates]:
            momenta = optax.tree.update_moment(updates, state, DECAY, 1)
            return jax.tree.map(move, updates, momenta, params), momenta

        def move(gradient: jax.Array, momentum: jax.Array, weight: jax.Array) -> jax.Array:
            size = _size(gradient)
            features = jnp.stack([gradient / size, momentum / size, weight / _size(weight)], axis=-1)
            found = rule.apply(weights_of_rule, features.reshape(-1, FEATURES)).reshape(*gradient.shape, 2)
            return -inner_rate * (jnp.exp(found[..., 1]) * gradient + size * found[..., 0])

        return optax.GradientTransformation(begin, update)

    start, of_rule = (from_params(lambda params, part=part: params[part]) for part in ("initial", "rule"))
    predict, norm = predict_with(model), model.normalization
    return gradient_based(
        init, start, predict, loss_fn, descent, num_steps=num_steps, adjoint=adjoint, rule=of_rule, normalization=norm
    )


def _size(values: jax.Array) -> jax.Array:
    """Gives the root mean square of a tensor."""
    return jnp.sqrt(jnp.square(values).mean() + SMALL)
