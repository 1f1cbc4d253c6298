"""What every learner promises, one function a promise; each raises a ``ValueError`` that says which one is broken."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta import _variations as variations
from jmeta._objectives import over_tasks
from jmeta._trials import STEP, TASKS, Trial, check_alike, check_equal, flat, predictions, same
from jmeta._types import Adapted, Batch, Episode, Params

# When a learner draws random numbers.
DRAWS = ("nothing", "training", "always")
KEYS = 256


def check_shapes(trial: Trial) -> None:
    learner, params, key, episode = trial.learner, trial.params, jax.random.key(2), trial.explicit[0]
    value, metrics = jax.eval_shape(learner.loss, params, key, episode)
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss must give a floating-point scalar; got {value.dtype}{list(value.shape)}.")
    if wrong := {name: leaf.shape for name, leaf in metrics.items() if leaf.shape}:
        raise ValueError(f"loss must give scalar metrics; got shapes {wrong}.")
    if "loss" not in metrics:
        raise ValueError(f"loss must give a metric named loss, that of the query; got {sorted(metrics)}.")
    _, outputs = jax.eval_shape(functools.partial(predictions, learner), params, key, episode)
    rows = jax.tree.leaves(episode.query.x)[0].shape[0]
    if wrong := [list(leaf.shape) for leaf in jax.tree.leaves(outputs) if leaf.shape[:1] != (rows,)]:
        raise ValueError(f"predict must give one row per example, [{rows}, ...]; got {wrong[0]}.")
    if (learner.path is None) != (learner.num_steps is None):
        given = "no path" if learner.path is None else "a path"
        raise ValueError(f"path and num_steps must be given together; got {given} and num_steps={learner.num_steps}.")
    # As a sampler without masks and classes draws them.
    batch = variations.numbered(trial.episodes)
    _check_refused("init must refuse a batch of tasks in a sentence, as check_episode does", learner.init, key, batch)
    _check_refused("loss must refuse a batch of tasks in a sentence, as check_episode does", learner.loss, params, key, batch)


def check_values(trial: Trial) -> None:
    trained, parts = trial.train(jax.random.key(3), trial.explicit[0]), trial.parts(jax.random.key(3), trial.explicit[0])
    if not np.isfinite(flat(trained)).all():
        raise ValueError(
            f"loss must be finite and have a finite gradient; got a loss of {trained.value} and a gradient {trained.gradient}."
        )
    if not flat(trained.gradient).any():
        raise ValueError("loss must depend on the parameters; got a gradient of zeros.")
    if not np.isfinite(flat(parts)).all():
        raise ValueError("adapt and predict must give finite values; got NaN or infinity.")


def check_dependence(trial: Trial) -> None:
    """Other supports adapt otherwise, and predict otherwise."""
    if trial.learner.num_steps == 0:
        return
    one, *others = trial.explicit
    parts, *changed = (trial.parts(jax.random.key(4), one._replace(support=task.support)) for task in (one, *others))
    if all(same(parts.adapted, other.adapted) for other in changed):
        raise ValueError(f"adapt must depend on the support; got the same for {TASKS} tasks.")
    if all(same(parts.outputs, other.outputs) for other in changed):
        raise ValueError(f"predict must depend on adapted; got the same outputs for {TASKS} tasks.")


def check_tasks(trial: Trial) -> None:
    """Mapped tasks are what a loop over them gives, though one has masked rows where the other has none."""
    episodes = trial.episodes if trial.draws == "nothing" else trial.explicit
    mapped = jax.jit(jax.value_and_grad(over_tasks(trial.learner.loss), has_aux=True))
    (value, _), gradient = mapped(trial.params, jax.random.key(5), variations.numbered(episodes), step=np.int32(STEP))
    each = [trial.train(key, task) for key, task in zip(jax.random.split(jax.random.key(5), TASKS), trial.explicit, strict=True)]
    looped = np.mean([flat((trained.value, trained.gradient)) for trained in each], axis=0)
    promise = "loss and gradient in training must be the same for mapped tasks and for a loop over them"
    check_equal(trial, (value, gradient), looped, f"{promise}, with masked rows and weights of 1 or without")


def check_keys(trial: Trial) -> None:
    """Keys matter in training where the learner draws, and elsewhere only where adapting itself draws."""
    draws, episode = trial.draws, trial.explicit[0]
    first, again, other = (trial.train(jax.random.key(seed), episode) for seed in (7, 7, 8))
    if not same(first, again):
        raise ValueError("loss must be a pure function; got two results for one key.")
    if same(first, other) is (draws != "nothing"):
        found = "changes with it" if draws == "nothing" else "ignores it"
        raise ValueError(f"loss must use its key exactly where draws says so; got draws={draws!r} and a loss that {found}.")
    for name, call in {"loss": trial.test, "adapt": trial.parts}.items():
        if draws != "always" and not same(call(jax.random.key(7), episode), call(jax.random.key(8), episode)):
            raise ValueError(f"{name} must be deterministic outside training, unless draws='always'; got one that uses its key.")


def check_order(trial: Trial, *, support: bool) -> None:
    """Rows are examples, in whatever order."""
    episode = trial.explicit[0]
    turned = episode._replace(query=variations.turned(episode.query))
    if support:
        other = episode._replace(support=variations.turned(episode.support))
        promise = "must not depend on the order of the support, unless uses_support_order"
        check_alike(trial, other, episode, promise, rows_differ=True)
    check_alike(trial, turned, episode, "must not depend on the order of the query", rows_differ=True)
    if trial.draws == "always":
        return
    outputs, others = (trial.parts(jax.random.key(9), task).outputs for task in (episode, turned))
    found = (variations.real_rows(outputs, episode.query), variations.real_rows(others, turned.query))
    back = jax.tree.map(lambda leaf: leaf[::-1], found[1])
    check_equal(trial, back, found[0], "predict must treat the query rows alike, whatever their order")


def check_masks(trial: Trial) -> None:
    """Masked rows and weights of 1 do not matter, and what masked rows hold neither."""
    explicit = trial.explicit[0]
    if trial.draws != "always":
        promise = "loss must not depend on masked rows (unless takes_masks=False), nor on weights that are all 1"
        check_equal(trial, trial.test(jax.random.key(9), explicit), trial.test(jax.random.key(9), trial.episodes[0]), promise)
    for value in variations.STRANGE if trial.takes_masks else ():
        strange = variations.with_strange_padding(explicit, value)
        check_alike(trial, strange, explicit, f"must not depend on what masked rows hold, such as {value}")


def check_weights(trial: Trial, *, counted: bool) -> None:
    """Each target counts what its weight says, relative to the others; of a sequence, only whether it is there."""
    episode = trial.explicit[0]
    doubled = variations.weighing(episode, lambda weights, _: 2 * weights)
    check_alike(trial, doubled, episode, "must be the same where all weights are doubled")
    absent = variations.with_weight_of_first(episode, 0)
    for value in variations.STRANGE:
        strange = variations.with_weight_of_first(episode, 0, value)
        check_alike(trial, strange, absent, f"must not depend on a target of weight 0, such as {value}")
    varied = variations.weighing(episode, lambda weights, _: weights * np.linspace(0.5, 1.5, weights.size).reshape(weights.shape))
    check_score(trial, varied, "with weights")
    if (
        counted
        and trial.learner.num_steps != 0
        and same(*(trial.parts(jax.random.key(9), task).adapted for task in (episode, varied)))
    ):
        raise ValueError("adapt must count each target of the support by its weight; got the same for other weights.")


def check_classes(trial: Trial) -> None:
    """Classes that are not real have no rows and no logits."""
    episode = trial.explicit[0]
    if episode.classes is None:
        return
    fewer = variations.without_last_class(episode)
    emptied = variations.without_rows_of_others(fewer)
    check_alike(trial, fewer, emptied, "must not count rows of classes that are not real")
    check_score(trial, fewer, "with a class that is not real")
    all_real = emptied._replace(classes=episode.classes)
    if trial.learner.num_steps and same(*(trial.parts(jax.random.key(9), task).adapted for task in (emptied, all_real))):
        raise ValueError("adapt must leave out the logits of classes that are not real; got the same with and without them.")


def check_objective(trial: Trial) -> None:
    """What is minimised is the loss of the query."""
    check_score(trial, trial.explicit[0], "of all rows")
    if not trial.own_objective:
        for where, found in {"in": trial.train, "outside": trial.test}.items():
            value, metric, *_ = found(jax.random.key(9), trial.explicit[0])
            check_equal(trial, value, metric, f"loss {where} training must be its metric loss, unless own_objective")


def check_score(trial: Trial, episode: Episode, case: str) -> None:
    """The metric loss is that of what is predicted of the query after adapting to the support."""
    found = {} if trial.draws == "always" else {"outside": trial.test}
    found |= {"in": trial.train} if trial.draws == "nothing" and not trial.own_objective else {}
    for where, call in found.items():
        got, expected = call(jax.random.key(9), episode).metric, trial.parts(jax.random.key(9), episode).score
        promise = "must be loss_fn of what predict says of the query after adapt on the support"
        check_equal(trial, got, expected, f"the metric loss {where} training {promise} ({case})")


def check_path(trial: Trial) -> None:
    """The path passes through ``adapt``, with the same draws."""
    learner, path, support = trial.learner, trial.learner.path, trial.explicit[0].support
    if path is None or learner.num_steps is None:
        return
    steps, options = learner.num_steps + 1, {"classes": trial.explicit[0].classes, "training": trial.draws != "nothing"}

    def run(params: Params, key: jax.Array, support: Batch) -> tuple[Adapted, Adapted]:
        return learner.adapt(params, key, support, **options), path(params, key, support, steps, **options)

    adapted, along = jax.device_get(jax.jit(run)(trial.params, jax.random.key(10), support))
    if wrong := [leaf.shape for leaf in jax.tree.leaves(along) if leaf.shape[:1] != (steps + 1,)]:
        raise ValueError(f"path must have a leading axis of num_steps + 1 = {steps + 1}; got shapes {wrong}.")
    reached = jax.tree.map(lambda leaf: leaf[learner.num_steps], along)
    check_equal(trial, reached, adapted, f"path must pass through adapt after num_steps={learner.num_steps} steps")


def check_keys_of_steps(trial: Trial) -> None:
    """Every step draws anew, so that two steps have more outcomes than one.

    A learner that draws alike in every step is, after two steps, where its first draw took it. Draws must be few to be counted,
    such as a dropout mask of one row, or the rows of a small batch; of others nothing can be said.
    """
    path, episode = trial.learner.path, trial.explicit[0]
    if path is None or trial.draws == "nothing":
        return

    @jax.jit
    def outcomes(support: Batch) -> Adapted:
        def run(key: jax.Array) -> Adapted:
            return path(trial.params, key, support, 2, classes=episode.classes, training=True)

        return jax.lax.map(run, jax.random.split(jax.random.key(11), KEYS))

    one_row = [variations.first_rows(episode.support, 1)] if trial.takes_masks else []
    for support in (episode.support, *one_row):
        start, first, second = (_count_distinct(trial, rows) for rows in _by_step(outcomes(support)))
        if start < first < KEYS and second <= first:
            raise ValueError(
                f"path must draw anew in every step; got {first} outcomes of one step and {second} of two from {KEYS} keys."
            )


def _by_step(paths: Adapted) -> np.ndarray:
    """Turns leaves ``[keys, steps, ...]`` into rows ``[steps, keys, all numbers]``."""
    leaves = [leaf.reshape(*leaf.shape[:2], -1).astype(np.float64) for leaf in jax.tree.leaves(jax.device_get(paths))]
    return np.concatenate(leaves, axis=2).swapaxes(0, 1)


def _count_distinct(trial: Trial, rows: np.ndarray) -> int:
    """Counts the rows that are like none before them: the same draws in another order are rounded otherwise."""
    found = rows[:1]
    for row in rows[1:]:
        limit = trial.tolerance * (1 + np.linalg.norm(row))
        if np.linalg.norm(found - row, axis=1).min() > limit:
            found = np.concatenate([found, row[None]])
    return len(found)


def _check_refused(promise: str, function: Callable[..., Any], *arguments: Any) -> None:
    try:
        jax.eval_shape(function, *arguments)
    except ValueError:
        return
    except TypeError as error:
        raise ValueError(f"{promise}; got a TypeError: {error}") from error
    raise ValueError(f"{promise}; got a result.")
