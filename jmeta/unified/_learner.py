"""Unified multi-task learning for a distribution of tasks: a task encoder, a meta-learner, task-specific learners.

Its description gives modules and goals and no formula; what is here is made of known parts: an embedding by attention (Lee et al.,
2019, 1810.00825), weights that the task modulates before gradient steps (Vuorio et al., 2019, 1910.13616), learnt step sizes (Li et
al., 2017, 1707.09835).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jmeta._adjoints import Adjoint
from jmeta._composition import compose, outputs_like
from jmeta._learners import gradient_based, predict_with
from jmeta._options import check_model
from jmeta._rows import fill_batch
from jmeta._scoring import score
from jmeta._types import Batch, EncoderHead, Episode, Learner, LossFn, Mask, Metrics, Model, Params
from jmeta._validation import checked_init
from jmeta.unified._parts import MetaLearner, TaskEncoder, check_support, check_vector, task_params

IDENTITY = Model(lambda key, x: {}, lambda params, x, *, key=None, mask=None: x, "none")


def unified_learner(
    model: Model | EncoderHead,
    loss_fn: LossFn,
    task_encoder: TaskEncoder,
    meta_learner: MetaLearner,
    *,
    num_steps: int = 1,
    adjoint: Adjoint | None = None,
    reconstruction: float = 0.1,
) -> Learner:
    r"""Learns how to begin and how to go on from what a task's examples say of it.

    .. math:: \phi_0, s = \mathrm{meta}(e(S)), \quad \phi_{t+1} = \phi_t - s_t \circ \nabla L_S(\phi_t), \quad
        L_Q(\phi_k) + \lambda L_{S \cup Q}(\mathrm{reconstruction}(e(S), x))

    Parameters are ``EncoderHead(shared, own)``: kinds of task share everything but what their targets, outputs and heads need, and
    are trained together by ``mixture({name: over_tasks(on_head(learner.loss, name)), ...})``. An embedding depends on its own task
    alone, so that tasks may be taken one after another or on several devices.

    Args:
      model: the task-specific learner, a network or an encoder with a head; all of its weights are made for the task, and adapt.
      loss_fn: ``(outputs, targets) -> [n, ...]``, for support, query and reconstruction.
      task_encoder: such as :func:`attention_task_encoder`.
      meta_learner: such as :func:`attention_meta_learner`.
      num_steps: the number of inner steps in training; 0 learns weights alone.
      adjoint: how to differentiate through them; ``unrolled()`` by default.
      reconstruction: :math:`\lambda`, what reconstructing targets counts; 0 leaves it out. The task encoder of the package gives
        any numbers, which a loss of deviations or probabilities does not take.

    Raises:
      ValueError: if ``model`` is neither a model nor two, or ``num_steps`` is negative; from ``init``, if the task encoder gives no
        vector; where values are known, if a support holds nothing and the task encoder does not know what to make of that.
    """
    encoder, head = model if isinstance(model, EncoderHead) else (model, IDENTITY)
    check_model("model", encoder)
    check_model("model.head", head)
    network = compose(encoder, head)

    def outputs_for(batch: Batch) -> Any:
        """Gives zeros of the shapes of what a learner makes of a batch."""
        return outputs_like(lambda key, x: network.apply(network.init(key, x), x), jax.random.key(0), batch.x)

    def init(key: jax.Array, episode: Episode) -> Params:
        weights_key, task_key, *keys = jax.random.split(key, 4)
        support = fill_batch(episode.support)
        checked_init(network, weights_key, episode, loss_fn)
        outputs = outputs_for(support)
        task = task_encoder.init(task_key, support, outputs)
        vector = jax.eval_shape(lambda task: task_encoder.embed(task, support, outputs, classes=episode.classes), task)
        check_vector(vector)

        def made(name: str) -> Any:
            return lambda key: getattr(network.init(key, support.x), name)

        parts = {
            name: meta_learner.init(one, made(name), jnp.zeros(vector.shape, vector.dtype), num_steps)
            for name, one in zip(EncoderHead._fields, keys, strict=True)
        }
        return EncoderHead(
            {"task_encoder": task.encoder, "meta_learner": parts["encoder"]},
            {"task_encoder": task.head, "meta_learner": parts["head"]},
        )

    def embed(params: Params, support: Batch, classes: Mask) -> jax.Array:
        check_support(task_encoder, support, classes)
        return task_encoder.embed(task_params(params), support, outputs_for(support), classes=classes)

    def start(params: Params, key: Any, support: Batch, classes: Mask) -> EncoderHead:
        del key
        embedding = embed(params, support, classes)
        return EncoderHead(*(meta_learner.initial(part["meta_learner"], embedding) for part in params))

    def rule(params: Params, key: Any, support: Batch, classes: Mask) -> EncoderHead:
        del key
        embedding = embed(params, support, classes)
        return EncoderHead(*(meta_learner.rule(part["meta_learner"], embedding) for part in params))

    learner = gradient_based(
        init,
        start,
        predict_with(network),
        loss_fn,
        meta_learner.descent,
        num_steps=num_steps,
        adjoint=adjoint,
        rule=rule,
        normalization=network.normalization,
    )

    def loss(
        params: Params, key: jax.Array, episode: Episode, *, step: Any = 0, training: bool = True
    ) -> tuple[jax.Array, Metrics]:
        value, metrics = learner.loss(params, key, episode, step=step, training=training)
        if task_encoder.reconstruct is None or not reconstruction:
            return value, metrics
        task, support, query = task_params(params), fill_batch(episode.support), fill_batch(episode.query)
        embedding = embed(params, support, episode.classes)
        rebuilt = [task_encoder.reconstruct(task, embedding, batch, outputs_for(batch)) for batch in (support, query)]
        wrong = jnp.stack([score(loss_fn, outputs, batch, episode.classes) for outputs, batch in rebuilt]).mean()
        return value + reconstruction * wrong, metrics | {"reconstruction": wrong}

    return learner._replace(loss=loss)
