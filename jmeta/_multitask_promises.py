"""What every multi-task model promises, one function a promise; each raises a ``ValueError`` that says which one is broken."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._multitask_trials import LOSSES, OUTPUTS, PLAIN, Made, Trial, draw_batch, missing, own, parts, strange, weighed
from jmeta._paths import path_of
from jmeta._rows import count_rows
from jmeta._scoring import score
from jmeta._sentences import first_line, kinds
from jmeta._trials import check_close, flat, same
from jmeta._types import PRESENT, EncoderHead, Params
from jmeta._variations import STRANGE
from jmeta.multitask._multitask import of_tasks

SEED = 0


def check_names(trial: Trial) -> None:
    """Names stand in the order of ``task_losses``, and one that is no task's is refused."""
    model, names = trial.model, sorted(trial.batch.y)
    if [*model.names] != names or sorted(model.objectives) != names:
        raise ValueError(
            f"names must be those of the tasks and their objectives in alphabetical order, {names}; got {[*model.names]} and "
            f"{sorted(model.objectives)}."
        )
    try:
        jax.eval_shape(lambda params, x: model.predict(params, "nobody", x), trial.params, trial.batch.x)
    except ValueError:
        return
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"predict must refuse the name of no task in a sentence; got a {type(error).__name__}.") from error
    raise ValueError("predict must refuse the name of no task in a sentence; got a result.")


def check_init(trial: Trial) -> None:
    """Parameters say what is shared and what belongs to a task, whatever the size of a batch and what its masked rows hold."""
    model, params = trial.model, trial.params
    of_one, of_each = (jax.eval_shape(model.init, jax.random.key(SEED), data) for data in (trial.batch, own(trial.batch)))
    heads = of_one.head if isinstance(of_one, EncoderHead) and isinstance(of_one.head, dict) else {}
    if sorted(heads) != [*model.names] or not all(isinstance(part, EncoderHead) for part in heads.values()):
        expected = "EncoderHead(shared, {name: EncoderHead(own, head)}) with the names of the tasks"
        raise ValueError(f"init must give {expected}; got {jax.tree.structure(of_one)}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(of_one):
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.weak_type:
            found = f"weakly typed {leaf.dtype}" if leaf.weak_type else leaf.dtype
            raise ValueError(f"init must give floating-point leaves of a type that steps keep; got {found} at {path_of(path)}.")
    if jax.tree.structure(of_one) != jax.tree.structure(of_each) or kinds(of_one) != kinds(of_each):
        raise ValueError(f"init must give the same shapes for one batch and for a batch a task; got {kinds(of_each)}.")
    if not np.isfinite(flat(params)).all():
        raise ValueError("init must not depend on masked rows; got parameters that are not finite where those hold NaN.")


def check_shapes(trial: Trial) -> None:
    """Everything runs under jit, for tasks with inputs and batch sizes of their own too."""
    model, key = trial.model, jax.random.key(SEED)
    for name, part in own(missing(trial.batch, 0)).items():
        outputs = _traced("predict", lambda params, x, name=name: model.predict(params, name, x), trial.params, part.x)
        rows = count_rows(part.x)
        if wrong := [list(leaf.shape) for leaf in jax.tree.leaves(outputs) if leaf.shape[:1] != (rows,)]:
            raise ValueError(f"predict must give one row per example, [{rows}, ...]; got {wrong[0]} of {name}.")
        _check_losses(f"objectives[{name!r}]", _traced("objectives", model.objectives[name], trial.params, key, part), ())
    joint = _traced("joint_losses", model.joint_losses, trial.params, key, trial.batch)
    _check_losses("joint_losses", joint, (len(model.names),))


def check_types(trial: Trial) -> None:
    """Outputs are as wide as parameters and inputs, whatever they are."""
    for dtype in (jnp.dtype(name) for name in sorted({"bfloat16", "float32", str(jnp.result_type(float))})):
        params, x = jax.tree.map(lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), (trial.params, trial.batch.x))
        for name in trial.model.names:
            outputs = jax.eval_shape(lambda params, x, name=name: trial.model.predict(params, name, x), params, x)
            if other := {leaf.dtype for leaf in jax.tree.leaves(outputs)} - {dtype}:
                raise ValueError(f"predict must give outputs of the type of parameters and inputs, {dtype}; got {other.pop()}.")


def check_parts(trial: Trial, *, shares_features: bool) -> None:
    """Parts are given the key and the mask, and the encoder runs once for all tasks where anything is computed once."""
    model, batch, key = trial.model, trial.batch, jax.random.key(SEED)
    apart = 0
    for name, part in of_tasks(model.names, batch).items():
        _encoded(trial, "predict", lambda params, name=name: model.predict(params, name, batch.x), (False, False))
        with_both = lambda params, name=name: model.predict(params, name, batch.x, key=key, mask=batch.mask)  # noqa: E731
        _encoded(trial, "predict", with_both, (True, True))
        objective = lambda params, name=name, part=part: model.objectives[name](params, key, part)  # noqa: E731
        apart += _encoded(trial, "objectives", objective, (True, True))
    together = _encoded(trial, "joint_losses", lambda params: model.joint_losses(params, key, batch), (True, True))
    if apart and (together < apart) is not shares_features:
        raise ValueError(
            "joint_losses must run the encoder once for all tasks exactly where shares_features says so; got "
            f"shares_features={shares_features} and {together} runs, where the objectives have {apart}."
        )


def check_values(made: dict[str, Made]) -> None:
    for case in (PLAIN, "of other weights", "with 0 in missing targets"):
        if not np.isfinite(flat([judged[:2] for judged in made[case]])).all():
            raise ValueError(f"losses must be finite and have finite gradients; got NaN or infinity on a batch {case}.")


def check_keys(trial: Trial, made: dict[str, Made]) -> None:
    """Keys matter where the model draws, and nowhere else."""
    for name, judged in _by_name(made[PLAIN]):
        if same(judged[:2], getattr(made["by another key"], name)[:2]) is trial.draws:
            got = "ignores it" if trial.draws else "changes with it"
            raise ValueError(f"{name} must use its key exactly where draws says so; got draws={trial.draws} and one that {got}.")


def check_joint(trial: Trial, made: dict[str, Made]) -> None:
    """Together the losses are the same."""
    promise = "joint_losses must be the objectives of the tasks, in the order of their names, with the same gradients"
    for case in () if trial.draws else (PLAIN, "of other weights", "with 0 in missing targets"):
        _check_equal(trial, made[case].joint_losses[:2], made[case].objectives[:2], promise)


def check_padding(trial: Trial, made: dict[str, Made]) -> None:
    for value in STRANGE:
        promise = f"must not depend on what masked rows hold, such as {value}"
        _check_alike(trial, made[f"with {value} in masked rows"], made[PLAIN], promise)


def check_missing(trial: Trial, made: dict[str, Made]) -> None:
    """Targets of weight 0 do not matter: those of rows, and those of entries of a row."""
    for value in STRANGE:
        found, expected = (made[f"with {what} in missing targets"] for what in (value, 0))
        _check_alike(trial, found, expected, f"must not depend on a target of weight 0, such as {value}")


def check_absence(trial: Trial, made: dict[str, Made]) -> None:
    """A task in which nothing counts is as if it were not there."""
    names = np.array(trial.model.names)
    for name in names:
        _check_nothing(made[f"without {name}"], names == name, "of a task whose targets are all absent")
        _check_alike(trial, made[f"without {name}"], made[PLAIN], "must be the same where another task is absent", names != name)
    _check_nothing(made["without targets"], slice(None), "where all tasks are absent")
    _check_nothing(made["without rows"], slice(None), "where all rows are masked")


def check_metrics(trial: Trial, made: dict[str, Made]) -> None:
    """Metrics say the losses, and what is present; those of an absent task are NaN, and in no mean."""
    names = np.array(trial.model.names)
    present = {PLAIN: names != "", "without targets": names == ""} | {f"without {name}": names != name for name in names}
    for case, there in present.items():
        for what, (values, _, metrics) in _by_name(made[case]):
            expected = {f"{name}/loss": value for name, value in zip(names, np.where(there, values, np.nan), strict=True)}
            for name, value in (expected | {PRESENT: there, "loss": values.sum() / max(there.sum(), 1)}).items():
                got = metrics.get(name)
                if got is None or not np.allclose(got, value, rtol=trial.tolerance, equal_nan=True):
                    raise ValueError(
                        f"{what} must give metrics of what each task costs; got {got} for {name} {case}, expected {value}."
                    )


def check_sharing(trial: Trial, made: dict[str, Made]) -> None:
    """Shared is what the losses of two tasks reach, own what that of one reaches."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(made[PLAIN].objectives.gradients):
        reached = [name for name, row in zip(trial.model.names, leaf, strict=True) if row.any()]
        got = f"got {path_of(path)}, which is reached by {reached}"
        if path[0].name == "encoder" and len(reached) < 2:
            raise ValueError(f"shared parameters must be reached by the losses of two tasks; {got}.")
        if path[0].name == "head" and reached != [path[1].key]:
            raise ValueError(f"own parameters must be reached by the loss of their task, and by no other; {got}.")


def check_rows(trial: Trial, made: dict[str, Made], *, own_objective: bool) -> None:
    """Losses are what predictions cost; rows that do not count may as well not be there."""
    if trial.draws:
        return
    model, key = trial.model, jax.random.key(SEED)
    batches, parts = own(missing(trial.batch, 0)), of_tasks(model.names, strange(weighed(trial.batch), STRANGE[0]))

    def costs(params: Params) -> Any:
        alone = [model.objectives[name](params, key, part)[0] for name, part in batches.items()]
        outputs = [model.predict(params, name, part.x, mask=part.mask) for name, part in parts.items()]
        return alone, [score(LOSSES[name], found, parts[name]) for name, found in zip(parts, outputs, strict=True)]

    alone, scores = jax.jit(costs)(trial.params)
    promise = "objectives must be the losses of what predict says, each target by its weight"
    if not own_objective:
        _check_equal(trial, made["of other weights"].objectives.values, scores, promise)
    promise = "objectives must be the same for the rows that count alone as for a mapped batch with masked rows and weights of 0"
    _check_equal(trial, alone, made["with 0 in missing targets"].objectives.values, promise)


def check_numbers(trial: Trial) -> None:
    """There may be any number of tasks, such as one."""

    def losses(names: list[str]) -> Callable[[jax.Array], Any]:
        model, batch = trial.build(*parts(names, [])), draw_batch(trial.batch.x.shape[1:], names)

        def of(key: jax.Array) -> Any:
            params = model.init(key, batch)
            alone = model.objectives["kind"](params, key, of_tasks(names, batch)["kind"])
            return model.joint_losses(params, key, batch)[0], alone[0]

        return of

    key = jax.random.key(SEED)
    three, _ = jax.eval_shape(losses([*OUTPUTS]), key)
    if three.shape != (len(OUTPUTS),):
        raise ValueError(f"joint_losses must give one loss per task, whatever their number; got {kinds(three)} of {len(OUTPUTS)}.")
    joint, alone = jax.jit(losses(["kind"]))(key)
    if not trial.draws:
        _check_equal(trial, joint, alone, "joint_losses of one task alone must be its objective")


def _traced(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(call, *arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must run under jit, for batches of any size; got an error: {first_line(error)}") from error


def _encoded(trial: Trial, what: str, call: Callable[[Params], Any], expected: tuple[bool, bool]) -> int:
    """Counts how often the encoder runs, after a look at what all parts are given."""
    trial.calls.clear()
    jax.eval_shape(call, trial.params)
    for part, *given in trial.calls:
        if tuple(given) != expected:
            got, told = (f"key={key} and mask={mask}" for key, mask in (given, expected))
            raise ValueError(f"{what} must give its parts the key and the mask that it has, {told}; got {got} for {part}.")
    return [call.part for call in trial.calls].count("encoder")


def _check_losses(what: str, found: Any, shape: tuple[int, ...]) -> None:
    value, metrics = found
    if value.shape != shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{what} must give floating-point losses of shape {[*shape]}; got {kinds(value)}.")
    if wrong := {name: leaf.shape for name, leaf in metrics.items() if leaf.shape and name != PRESENT}:
        raise ValueError(f"{what} must give scalar metrics; got shapes {wrong}.")


def _check_equal(trial: Trial, got: Any, expected: Any, promise: str) -> None:
    check_close(got, expected, trial.tolerance, promise)


def _check_alike(trial: Trial, got: Made, expected: Made, promise: str, tasks: Any = slice(None)) -> None:
    """Compares values and gradients of some tasks, one by one and joint."""
    for name, judged in _by_name(got):
        one, other = (jax.tree.map(lambda leaf: leaf[tasks], found[:2]) for found in (judged, getattr(expected, name)))
        _check_equal(trial, one, other, f"{name} {promise}")


def _check_nothing(made: Made, tasks: Any, case: str) -> None:
    for name, judged in _by_name(made):
        if flat(jax.tree.map(lambda leaf: leaf[tasks], judged[:2])).any():
            raise ValueError(f"{name} must be 0 and have a gradient of zeros {case}; got losses {judged.values}.")


def _by_name(made: Made) -> Any:
    return made._asdict().items()
