"""Self-distillation over generations (born-again networks; Furlanello et al., 2018, 1805.04770)."""

import jax
import numpy as np
import optax

from jmeta._options import check_counts, check_model
from jmeta._rows import count_rows
from jmeta._steps import init_state, make_step
from jmeta._types import Batch, LossFn, Model, Params
from jmeta.tasks._groups import as_floats, minibatches
from jmeta.training import fit
from jmeta.transfer._distillation import distillation
from jmeta.transfer._teach import teach


def self_distillation(
    model: Model,
    params: Params,
    loss_fn: LossFn,
    batch: Batch,
    optimizer: optax.GradientTransformation,
    *,
    generations: int,
    steps: int,
    temperature: float = 1.0,
    share: float = 0.5,
    batch_size: int = 128,
    seed: int = 0,
) -> list[Params]:
    """Trains a network anew, again and again, each time taught by the one before.

    All generations are one network, from other initial values; one compiled loop trains them, and the logits of each are computed
    once. The mean of their probabilities is the ensemble of the paper.

    Args:
      model: ``x -> logits [n, ..., classes]``.
      params: the first teacher, which has learnt from labels alone.
      loss_fn: ``(outputs, targets) -> [n, ...]`` of the labels.
      batch: the examples, as :func:`jmeta.minibatches` takes them; masked ones are never drawn.
      optimizer: of each generation, from its start.
      generations: how many.
      steps: of a generation.
      temperature: as for :func:`jmeta.transfer.distillation`.
      share: as for :func:`jmeta.transfer.distillation`.
      batch_size: examples of a step, all of them where there are fewer.
      seed: of the initial values and of what is drawn.

    Returns:
      The parameters of each generation, without the first teacher.

    Raises:
      ValueError: if the model is none, counts are no whole numbers of at least 1, or as :func:`jmeta.transfer.distillation`.
    """
    check_model("model", model)
    check_counts(generations=generations, steps=steps, batch_size=batch_size)
    step = make_step(distillation(model, loss_fn, temperature=temperature, share=share), optimizer)
    if batch.mask is not None:
        real = np.asarray(batch.mask)
        batch = jax.tree.map(lambda leaf: np.asarray(leaf)[real], batch._replace(mask=None))
    found, sampler = [params], None
    for key in jax.random.split(jax.random.key(seed), generations):
        init_key, fit_key = jax.random.split(key)
        taught = teach(model, found[-1], batch)
        drawn = minibatches(taught.x, taught.y, min(batch_size, count_rows(batch.x)), weights=batch.weights)
        # One way of sampling for all generations is one compiled loop.
        sampler = drawn if sampler is None else sampler._replace(data=drawn.data)
        first = jax.tree.map(lambda leaf: leaf[:batch_size], batch.x)
        fresh = model.init(init_key, as_floats(Batch(first, None)).x)
        state, _ = fit(step, init_state(fresh, optimizer, fit_key), sampler, num_steps=steps, progress=False)
        found.append(state.params)
    return found[1:]
