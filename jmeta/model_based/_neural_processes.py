"""Neural processes (Garnelo et al., 2018, 1807.01622)."""

from jmeta._composition import check_encoder_head
from jmeta._types import EncoderHead, Learner, Model
from jmeta.model_based._process import neural_process


def neural_processes(latent: EncoderHead, decoder: Model, *, lowest_deviation: float = 0.1) -> Learner:
    r"""Predicts from a random vector, whose distribution the examples say; what is drawn is one function.

    .. math::

        q(z \mid S) = N(\mu, \sigma^2), \quad (\mu, s) = a(\tfrac{1}{n} \sum_i h(x_i, y_i)), \quad
        \sigma = 0.1 + 0.9\, \mathrm{sigmoid}(s)

    With a key predictions are those of a drawn z (several keys draw several functions), without one those of its mean. In training
    z is drawn from the posterior that has seen support and query, and the loss is the bound

    .. math:: -\log p(y_Q \mid x_Q, z) + D(q(z \mid S, Q) \| q(z \mid S))

    per number; the metric ``loss`` is its first part. Elsewhere z is that of the support, so that the targets of a query can not
    reach its predictions. Outputs are a :class:`jmeta.Gaussian`.

    Args:
      latent: h, ``[n, inputs + targets] -> [n, d]``, and a, ``[1, d] -> [1, 2 z]``, as encoder and head.
      decoder: ``[n, inputs + z] -> [n, 2 k]`` for targets ``[n, k]``.
      lowest_deviation: as in :func:`jmeta.conditional_neural_processes`.

    Raises:
      ValueError: as :func:`jmeta.conditional_neural_processes`.
    """
    check_encoder_head(latent)
    return neural_process(decoder, latent=latent, lowest_deviation=lowest_deviation)
