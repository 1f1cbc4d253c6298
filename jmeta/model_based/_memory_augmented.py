"""Memory-augmented neural networks (MANN; Santoro, Bartunov, Botvinick, Wierstra and Lillicrap, 2016, 1605.06065)."""

from typing import TYPE_CHECKING, Any, Optional

import jax
import jax.numpy as jnp

from jmeta._composition import check_encoder_head, fitted, outputs_like, split_key
from jmeta._presence import with_presence
from jmeta._rows import fill_batch
from jmeta._scoring import score
from jmeta._types import PRESENT, Adapted, Batch, EncoderHead, Episode, Key, Learner, LossFn, Mask, Metrics, Params
from jmeta._validation import check_episode, check_one_task, check_task
from jmeta.model_based._told import check_width, encode, order_of, told
from jmeta.models import from_linen

if TYPE_CHECKING:
    from jmeta.nn import MemoryCell


def memory_augmented_networks(
    model: EncoderHead, loss_fn: LossFn, *, cell: Optional["MemoryCell"] = None, support_loss: float = 1.0, shuffles: bool = True
) -> Learner:
    r"""Reads the support one example after another into an external memory, each target one step after its input.

    A :class:`jmeta.nn.MemoryCell` sees :math:`(f(x_1), 0), (f(x_2), y_1), \dots, (f(x_n), y_{n-1})`; then each query, for itself
    and from the same memory, is one more step, :math:`(f(x), y_n)`. What a task adapts is the memory. Rows that do not count are
    left out; of weights it matters only whether they are 0.

    Training judges the support too, each row before its target is told. Where classes are balanced, counting alone lowers that part
    of the loss (the metric ``support_loss``); what was learnt says the other (``loss``).

    Differs from the paper, where an episode is one sequence, all of which is judged: here no query sees another. As in public
    code, each read head has a key, a gate and a least-used slot of its own, and the one slot that is used least of all is erased
    before it is written; the memory starts from zeros, where that code has 1e-6.

    Args:
      model: the encoder f, ``x -> [n, d]``, and the head, from ``[n, units + reads * width]`` to the outputs.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support and query.
      cell: the memory and its controller; ``MemoryCell()``, of the paper's sizes, by default.
      support_loss: what the loss of the support counts in training beside that of the query, 1.
      shuffles: whether the support is read in an order drawn from the key, or as it stands, such as by time.

    Raises:
      ValueError: if ``model`` has no two parts; from ``init``, if the encoder gives no vectors, or labels are not below the
        outputs; from ``adapt``, if there is no key to draw the order from, or a task has other ways than that of ``init``.
    """
    from jmeta.nn import MemoryCell

    check_encoder_head(model)
    module = MemoryCell() if cell is None else cell
    network, found = from_linen(module), module.reads * module.width

    def init(key: jax.Array, episode: Episode) -> Params:
        check_episode(episode)
        support, keys = fill_batch(episode.support), jax.random.split(key, 3)
        encoder = model.encoder.init(keys[0], support.x)
        vectors = outputs_like(lambda params, x: encode(model.encoder, params, x), encoder, support.x)
        row = jnp.concatenate([vectors, told(support, episode.classes).values], axis=1)[0]
        weights, (_, output) = fitted("cell", "the encoder", network, keys[1], (module.start(row.dtype), row))
        head, _ = fitted("model.head", "the cell", model.head, keys[2], output[None])
        params = {"encoder": encoder, "cell": weights, "head": head}
        check_task(learner, params, episode, loss_fn)
        return params

    def read(params: Params, key: Key, support: Batch, classes: Mask, training: bool) -> tuple[Adapted, Any]:
        """Gives what is adapted, and the outputs for each row of the support before its target was told."""
        order_key, encode_key, head_key = (None, None, None) if key is None else jax.random.split(key, 3)
        encode_key, head_key = (encode_key, head_key) if training else (None, None)
        values, counts = told(support, classes)
        vectors = encode(model.encoder, params["encoder"], support.x, key=encode_key, mask=support.mask)
        check_width(values, params["cell"]["lstm"]["ii"]["kernel"].shape[0] - vectors.shape[1] - found)
        order = order_of(order_key, counts > 0, shuffles=shuffles)
        vectors, values, real = vectors[order], values[order], (counts > 0)[order]

        def step(state: Any, row: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            x, counted = row
            new, output = network.apply(params["cell"], (state, x))
            return jax.tree.map(lambda new, old: jnp.where(counted, new, old), new, state), output

        rows = jnp.concatenate([vectors, jnp.pad(values, ((1, 0), (0, 0)))[:-1]], axis=1)
        state, outputs = jax.lax.scan(step, module.start(rows.dtype), (rows, real))
        outputs = model.head.apply(params["head"], outputs[jnp.argsort(order)], key=head_key, mask=support.mask)
        # Rows that do not count come last; without any other, nothing was told.
        return {"state": state, "last": values[jnp.maximum(real.sum() - 1, 0)]}, outputs

    def adapt(params: Params, key: jax.Array, support: Batch, *, classes: Mask = None, training: bool = False) -> Adapted:
        return read(params, key, support, classes, training)[0]

    def predict(params: Params, adapted: Adapted, x: Any, *, key: Key = None, mask: Mask = None) -> Any:
        encode_key, head_key = split_key(key)
        vectors = encode(model.encoder, params["encoder"], x, key=encode_key, mask=mask)

        def step(vector: jax.Array) -> jax.Array:
            return network.apply(params["cell"], (adapted["state"], jnp.concatenate([vector, adapted["last"]])))[1]

        return model.head.apply(params["head"], jax.vmap(step)(vectors), key=head_key, mask=mask)

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        del step
        check_one_task(episode)
        support, query, classes = fill_batch(episode.support), fill_batch(episode.query), episode.classes
        adapt_key, predict_key = jax.random.split(key)
        adapted, before = read(params, adapt_key, support, classes, training)
        outputs = predict(params, adapted, query.x, key=predict_key if training else None, mask=query.mask)
        value, other = score(loss_fn, outputs, query, classes), score(loss_fn, before, support, classes)
        metrics = with_presence({"loss": value, "support_loss": other}, query)
        return jnp.where(metrics.get(PRESENT, True), value + support_loss * other if training else value, 0), metrics

    learner = Learner(init, adapt, predict, loss, None, model.encoder.normalization)
    return learner
