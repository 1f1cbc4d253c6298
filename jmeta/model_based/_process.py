"""What neural processes share: examples in, a representation, and a normal distribution for each target out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta._composition import fitted, keys_of, outputs_like, split_key
from jmeta._options import check_model, check_positive
from jmeta._presence import with_presence
from jmeta._rows import counts_of, fill, fill_batch
from jmeta._scoring import query_loss, score
from jmeta._sentences import kinds
from jmeta._types import PRESENT, Adapted, Batch, EncoderHead, Episode, Key, Learner, Mask, Metrics, Model, Params
from jmeta._validation import check_episode, check_one_task
from jmeta.model_based._gaussian import Gaussian, divergence, gaussian_negative_log_likelihood
from jmeta.model_based._told import encode, numbers, told


class Examples(NamedTuple):
    """A set of examples.

    Attributes:
      x: inputs as rows of numbers, ``[n, inputs]``.
      pairs: inputs and targets, ``[n, inputs + targets]``.
      counts: what each row counts, ``[n]``; 1 in the mean of those that count.
      mask: ``[n]``, or None.
    """

    x: jax.Array
    pairs: jax.Array
    counts: jax.Array
    mask: Mask


class Representation(NamedTuple):
    """What examples say of a function.

    Attributes:
      init: ``(key, examples) -> params``.
      read: ``(params, examples, key) -> found``.
      at: ``(params, found, x [m, inputs], key, mask) -> [m, r]``.
    """

    init: Callable[[jax.Array, Examples], Params]
    read: Callable[[Params, Examples, Key], Any]
    at: Callable[[Params, Any, jax.Array, Key, Mask], jax.Array]


def examples_of(batch: Batch) -> Examples:
    """Reads the examples of a batch.

    Raises:
      ValueError: if the targets are not rows of real numbers, or the weights are not one per row.
    """
    if not (hasattr(batch.y, "ndim") and batch.y.ndim == 2 and jnp.issubdtype(batch.y.dtype, jnp.floating)):
        raise ValueError(f"y must hold rows of real numbers, [n, k], for a neural process; got {kinds(batch.y)}.")
    x, (values, counts) = numbers(fill(batch.x, batch.mask)), told(batch, None)
    share = counts.sum() / jnp.maximum((counts > 0).sum(), 1)
    return Examples(x, jnp.concatenate([x, values], axis=1), counts / jnp.where(share > 0, share, 1), batch.mask)


def pooled(rows: jax.Array, counts: jax.Array) -> jax.Array:
    """Averages rows ``[n, r]``; 0 where none counts."""
    total = counts.sum()
    return counts @ rows / jnp.where(total > 0, total, 1)


def neural_process(
    decoder: Model, *, path: Representation | None = None, latent: EncoderHead | None = None, lowest_deviation: float
) -> Learner:
    """Builds a neural process of a deterministic path, a latent one, or both.

    Args:
      decoder: ``[m, inputs + r + z] -> [m, 2 k]``, means and what deviations are made of.
      path: the deterministic one, r numbers.
      latent: an encoder ``[n, inputs + targets] -> [n, h]`` whose mean a head takes from ``[1, h]`` to ``[1, 2 z]``.
      lowest_deviation: below which no predicted deviation is.
    """
    check_model("decoder", decoder)
    check_positive(lowest_deviation=lowest_deviation)

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        examples, keys = examples_of(episode.support), jax.random.split(key, 4)
        params: dict[str, Any] = {} if path is None else {"path": path.init(keys[0], examples)}
        if latent is not None:
            encoder, rows = fitted("latent.encoder", "the task", latent.encoder, keys[1], examples.pairs)
            head, found = fitted("latent.head", "latent.encoder", latent.head, keys[2], pooled(rows, examples.counts)[None])
            params["latent"] = EncoderHead(encoder, head)
            _check_halves("latent.head", found)
        shapes = outputs_like(lambda params, x: columns(params, read(params, examples, None), x, None, None), params, examples.x)
        params["decoder"], outputs = fitted("decoder", "the representation", decoder, keys[3], shapes)
        _check_halves("decoder", outputs, 2 * episode.support.y.shape[1])
        return params

    def read(params: Params, examples: Examples, key: Key) -> dict[str, Any]:
        path_key, latent_key, head_key = keys_of(key, 3)
        found = {} if path is None else {"path": path.read(params["path"], examples, path_key)}
        if latent is None:
            return found
        rows = encode(latent.encoder, params["latent"].encoder, examples.pairs, key=latent_key, mask=examples.mask)
        mean, raw = jnp.split(
            latent.head.apply(params["latent"].head, pooled(rows, examples.counts)[None], key=head_key), 2, axis=1
        )
        return found | {"latent": Gaussian(mean, 0.1 + 0.9 * jax.nn.sigmoid(raw))}

    def columns(params: Params, adapted: Adapted, x: jax.Array, key: Key, mask: Mask) -> jax.Array:
        """Gives what the decoder sees of each row."""
        path_key, draw_key = split_key(key)
        found = [x] if path is None else [x, path.at(params["path"], adapted["path"], x, path_key, mask)]
        if latent is not None:
            mean, deviation = adapted["latent"]
            z = mean if draw_key is None else mean + deviation * jax.random.normal(draw_key, mean.shape, mean.dtype)
            found.append(jnp.broadcast_to(z, (len(x), z.shape[1])))
        return jnp.concatenate(found, axis=1)

    def adapt(params: Params, key: Key, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        del classes
        return read(params, examples_of(support), key if training else None)

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Gaussian:
        columns_key, decoder_key = split_key(key)
        rows = columns(params, adapted, numbers(fill(x, mask)), columns_key, mask)
        mean, raw = jnp.split(decoder.apply(params["decoder"], rows, key=decoder_key, mask=mask), 2, axis=1)
        return Gaussian(mean, lowest_deviation + 0.9 * jax.nn.softplus(raw))

    likelihood = query_loss(adapt, predict, gaussian_negative_log_likelihood)

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        if latent is None or not training:
            return likelihood(params, key, episode, step=step, training=training)
        check_one_task(episode)
        read_key, both_key, predict_key = jax.random.split(key, 3)
        query, (support, asked) = fill_batch(episode.query), map(examples_of, episode[:2])
        adapted = read(params, support, read_key)
        posterior = read(params, _both(support, asked), both_key)["latent"]
        outputs = predict(params, adapted | {"latent": posterior}, query.x, key=predict_key, mask=query.mask)
        value = score(gaussian_negative_log_likelihood, outputs, query)
        excess = divergence(posterior, adapted["latent"])
        counts = counts_of(query)
        entries = query.y.size if counts is None else jnp.maximum((counts != 0).sum(), 1) * (query.y.size / counts.size)
        metrics = with_presence({"loss": value, "divergence": excess}, query)
        return jnp.where(metrics.get(PRESENT, True), value + excess / entries, 0), metrics

    return Learner(init, adapt, predict, loss, None, decoder.normalization)


def _both(one: Examples, other: Examples) -> Examples:
    mask = None
    if one.mask is not None or other.mask is not None:
        masks = [jnp.ones(len(part.x), bool) if part.mask is None else part.mask for part in (one, other)]
        mask = jnp.concatenate(masks)
    x, pairs, counts = (jnp.concatenate(leaves) for leaves in zip(one[:3], other[:3], strict=True))
    return Examples(x, pairs, counts, mask)


def _check_halves(name: str, outputs: Any, width: int | None = None) -> None:
    expected = "an even number of" if width is None else width
    if not hasattr(outputs, "ndim") or outputs.ndim != 2 or outputs.shape[1] % 2 or width not in (None, outputs.shape[1]):
        raise ValueError(f"{name} must give {expected} numbers for each row, means and deviations; got {kinds(outputs)}.")
