"""What every aggregator promises, and what some claim, one function a promise; each raises a ``ValueError`` that says which one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._aggregator_trials import (
    SIZE,
    STEPS,
    TASKS,
    History,
    Trial,
    check_alike,
    check_equal,
    history,
    in_leaves,
    joined,
    of_steps,
    of_tasks,
    of_types,
    random_rows,
    run,
    whole,
)
from jmeta._sentences import first_line, kinds
from jmeta.aggregation._gramian import gramian

# Half a unit in the last place of bfloat16, doubled because the wide result is itself rounded.
ROUNDING = 2.0**-8
FLOAT32 = 1e-4
ORDER = [2, 3, 1, 0]
DRAWS = 32
# Of the shortest gradient: what is no longer is nothing.
NOTHING = 1e-3


def check_shapes(trial: Trial) -> None:
    """The gradient is like that of one task, and the state is carried."""
    combine, state = trial.aggregator.combine, jax.eval_shape(lambda: trial.aggregator.init(TASKS))
    for divide in (in_leaves, of_types):
        gradients = divide(jnp.asarray(random_rows()[0], float))
        try:
            got, carried = jax.eval_shape(lambda gradients, state: combine(gradients, state, **_given()), gradients, state)
        except jax.errors.JAXTypeError as error:
            raise ValueError(f"combine must run under jit; got an error: {first_line(error)}") from error
        one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), gradients)
        for name, found, expected in (("gradient like that of one task", got, one), ("state like that of init", carried, state)):
            if jax.tree.structure(found) != jax.tree.structure(expected) or kinds(found) != kinds(expected):
                raise ValueError(f"combine must give a {name}; got {kinds(found)}, expected {kinds(expected)}.")


def check_purity(trial: Trial) -> None:
    """Traced again it is the same, and where it weighs, it weighs by the Gramian."""
    aggregator, known = trial.aggregator, history(random_rows())
    rows, state = jnp.asarray(known.rows[0], float), aggregator.init(TASKS)
    given = _given(jnp.asarray(known.losses[0], float))

    def again(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        combined = joined(aggregator.combine(in_leaves(rows), state, **given)[0])
        return combined, combined if aggregator.weigh is None else aggregator.weigh(gramian(rows), state, **given)[0] @ rows

    combined, weighted = map(np.asarray, jax.jit(again)(rows))
    first = run(trial, [known])[0][0][0]
    check_equal(trial, combined, first, "combine must be a pure function, the same whenever it is traced")
    check_equal(trial, weighted, first, "weigh must give the weights of what combine gives")


def check_finite(trial: Trial) -> None:
    """Nothing a gradient can be makes NaN, neither now nor later."""
    strange = _strange()
    results, states = run(trial, [history(np.stack([rows, rows, random_rows()[0]])) for rows in strange.values()])
    for at, name in enumerate(strange):
        if not all(np.isfinite(leaf[at]).all() for leaf in (results, *states) if np.issubdtype(leaf.dtype, np.floating)):
            raise ValueError(f"combine must be finite and leave a finite state, with gradients {name}; got NaN or infinity.")


def check_one_task(trial: Trial, *, own_length: bool) -> None:
    rows = random_rows(tasks=1)
    got, expected = run(trial, [history(rows)])[0][0], rows[:, 0]
    if own_length:
        expected = expected * np.linalg.norm(got, axis=1, keepdims=True) / np.linalg.norm(expected, axis=1, keepdims=True)
    check_equal(trial, got, expected, "combine must give the gradient of a task that is alone, unless own_length")


def check_absence(trial: Trial) -> None:
    """An absent task is as if it were not there: it says nothing, and its state stays."""
    rows, others = random_rows(), np.array([True, False, True, True])
    some = history(rows, present=np.stack([others] * STEPS))
    check_alike(trial, some, of_tasks(some, others), "combine must treat absent tasks as if they were not there")
    first, second, everybody, nobody = [True, False, True, False], [False, True, False, True], [True] * TASKS, [False] * TASKS
    empty = history(rows, present=np.array([everybody, nobody, everybody]))
    other = history(rows, present=np.array([everybody, first, second]))
    (_, nothing, after), (_, _, apart) = run(trial, [empty, other])[0]
    (_, without, _), (_, alone, _) = run(trial, [of_steps(empty, 0, 2, 1), of_steps(other, 0, 2, 1)])[0]
    if nothing.any():
        raise ValueError("combine must give zeros where all tasks are absent; got other numbers.")
    check_equal(trial, after, without, "combine must leave the state as it is where all tasks are absent")
    check_equal(trial, apart, alone, "combine must leave the state of absent tasks as it is")


def check_leaves(trial: Trial) -> None:
    known = history(random_rows())
    check_alike(trial, known, known, "combine must not depend on how parameters are divided into leaves", divide=whole)


def check_types(trial: Trial) -> None:
    """Leaves of narrow types are rounded once, in the end."""
    known = history(random_rows())
    narrow = [jax.tree.map(lambda leaf: leaf.astype(float).reshape(TASKS, -1), of_types(rows)) for rows in known.rows]
    rounded = np.stack([np.concatenate(jax.tree.leaves(tree), axis=1) for tree in narrow])
    got, wide = run(trial, [known], of_types)[0][0], run(trial, [known._replace(rows=rounded)])[0][0]
    limit = max(trial.tolerance, FLOAT32) * (1 + np.abs(wide))
    limit[:, 1:5] += ROUNDING * np.abs(wide[:, 1:5])
    if not (np.abs(got - wide) <= limit).all():
        raise ValueError(
            "combine must compute in float32 at least and round once; "
            f"got a difference of {np.abs(got - wide).max():.3g} with leaves in float32 and bfloat16."
        )


def check_keys(trial: Trial) -> None:
    known = history(random_rows())
    results, _ = run(trial, [known._replace(seeds=known.seeds + seed) for seed in range(8)])
    if trial.draws is bool((results == results[:1]).all()):
        found = "ignores it" if trial.draws else "changes with it"
        raise ValueError(f"combine must use its key exactly where draws says so; got draws={trial.draws} and one that {found}.")


def check_order(trial: Trial) -> None:
    known = history(random_rows())
    promise = "combine must not depend on the order of the tasks, unless permutation_equivariant=False"
    check_alike(trial, of_tasks(known, ORDER), known, promise)


def check_non_conflicting(trial: Trial) -> None:
    r"""No task's loss grows: :math:`\langle A(J), g_i \rangle \ge 0`."""
    known = [history(rows) for rows in _many()]
    rows, results = np.stack([each.rows for each in known]), run(trial, known)[0]
    lengths = np.linalg.norm(rows, axis=-1)
    # Relative to what the products are made of, because a result may be nothing but rounding.
    worst = (np.einsum("hstn,hsn->hst", rows, results) / (lengths * lengths.max(axis=-1, keepdims=True))).min()
    if not worst >= -trial.tolerance:
        raise ValueError(
            f"combine must be non-conflicting; got a product of {worst:.3g} with the gradient of a task, relative to the lengths, "
            f"expected at least {-trial.tolerance:.3g}."
        )


def check_linear_under_scaling(trial: Trial) -> None:
    r"""Longer gradients count as much more: :math:`A(\mathrm{diag}(c) J)` is linear in :math:`c > 0`."""
    generator = np.random.default_rng(1)
    for rows in _many()[:8]:
        first, second = generator.uniform(0.1, 2, size=(2, TASKS, 1))
        mixed = [_second_scaled(rows, scale) for scale in (first, second, 0.3 * first + 0.9 * second)]
        one, other, both = run(trial, mixed)[0][:, 1]
        check_equal(trial, both, 0.3 * one + 0.9 * other, "combine must be linear under scaling of the gradients")


def check_strongly_stationary(trial: Trial) -> None:
    """Nothing is left only where weights that are all positive cancel the gradients."""
    for name, rows in _not_stationary().items():
        results, _ = run(trial, [history(each) for each in rows])
        lengths = np.where(rows.any(axis=-1), np.linalg.norm(rows, axis=-1), np.inf)
        least = (np.linalg.norm(results, axis=-1) / lengths.min(axis=-1)).min()
        if not least > NOTHING:
            raise ValueError(
                f"combine must be strongly stationary; got a gradient of {least:.3g} times the shortest, {name}, which no positive "
                "weights cancel."
            )


def _given(losses: Any = None) -> dict[str, Any]:
    losses = jnp.ones(TASKS) if losses is None else losses
    return {"losses": losses, "present": jnp.ones(TASKS, bool), "key": jax.random.key(0)}


def _second_scaled(rows: np.ndarray, scale: np.ndarray) -> History:
    return history(np.stack([rows[0], scale * rows[1], rows[2]]))


def _strange() -> dict[str, np.ndarray]:
    """Gradients ``[tasks, size]`` at which something may be divided by nothing."""
    rows = random_rows()[0]
    one = rows[:1]
    return {
        "of zeros": 0 * rows,
        "one of which is zero": rows * (np.arange(TASKS) > 0)[:, None],
        "all but one of which are zero": rows * (np.arange(TASKS) == 0)[:, None],
        "that are equal": np.repeat(one, TASKS, axis=0),
        "that are opposite": one * np.array([[1.0], [-1], [1], [-1]]),
        "that are opposite and of different lengths": one * np.array([[1.0], [-2], [3], [-0.5]]),
        "two of which are opposite": np.concatenate([one, -one, rows[2:]]),
        "that are nearly parallel": one + 1e-4 * rows,
        "that are parallel up to rounding": one + 1e-7 * rows,
        "that are nearly opposite": one * np.array([[1.0], [-1], [1], [-1]]) + 1e-4 * rows,
        "whose lengths go from 1 to 10,000": rows * [[1.0], [1e1], [1e3], [1e4]],
        "that are very long": 1e8 * rows,
        "that are very short": 1e-8 * rows,
    }


def _many() -> np.ndarray:
    """Gradients ``[histories, steps, tasks, size]`` of different lengths, in spaces of two dimensions and more."""
    generator = np.random.default_rng(2)
    rows = [
        generator.normal(size=(STEPS, TASKS, 2 + at % 4)) @ generator.normal(size=(2 + at % 4, SIZE)) / np.sqrt(2 + at % 4)
        for at in range(DRAWS)
    ]
    return np.stack(rows) * 10 ** generator.uniform(-0.5, 0.5, size=(DRAWS, STEPS, TASKS, 1))


def _not_stationary() -> dict[str, np.ndarray]:
    """Gradients ``[histories, steps, tasks, size]`` that no positive weights cancel: none is below 0 in the last element."""
    rows = np.random.default_rng(3).normal(size=(DRAWS, STEPS, TASKS, SIZE))
    rows[..., -1] = 0.5 + np.abs(rows[..., -1])
    pair, zero = rows.copy(), rows.copy()
    pair[..., 0, -1] = 0
    pair[..., 1, :] = -2 * pair[..., 0, :]
    zero[..., 0, :] = 0
    return {"with two that are opposite": pair, "with one of zeros": zero, "with all on one side": rows}
