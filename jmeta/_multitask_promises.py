"""What every multi-task model promises, one function a promise; each raises a ``ValueError`` that says which one is broken."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta._multitask_trials import Made, Trial, missing, own, parts
from jmeta._objectives import task_gradients
from jmeta._paths import path_of
from jmeta._rows import count_rows
from jmeta._sentences import first_line, kinds
from jmeta._trials import check_close, flat, same
from jmeta._types import PRESENT, Batch, EncoderHead
from jmeta._variations import STRANGE

PLAIN = "as it is"
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
    for dtype in map(jnp.dtype, ["bfloat16", "float32"] + ["float64"] * bool(jax.config.jax_enable_x64)):
        params, x = jax.tree.map(lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), (trial.params, trial.batch.x))
        for name in trial.model.names:
            outputs = jax.eval_shape(lambda params, x, name=name: trial.model.predict(params, name, x), params, x)
            if other := {leaf.dtype for leaf in jax.tree.leaves(outputs)} - {dtype}:
                raise ValueError(f"predict must give outputs of the type of parameters and inputs, {dtype}; got {other.pop()}.")


def check_parts(trial: Trial, *, shares_features: bool) -> None:
    """Parts are given the key and the mask, and the encoder runs once for all tasks where anything is computed once."""
    model, batch, key = trial.model, trial.batch, jax.random.key(SEED)

    def encoded(promise: str, call: Callable[..., Any], expected: tuple[bool, bool]) -> int:
        trial.calls.clear()
        jax.eval_shape(call, trial.params, batch)
        for part, *given in trial.calls:
            if tuple(given) != expected:
                got = " and ".join(f"{'a' if there else 'no'} {what}" for what, there in zip(("key", "mask"), given, strict=True))
                raise ValueError(f"{promise} must give its parts the key and the mask that it is given, or none; got {got} for {part}.")
        return [call.part for call in trial.calls].count("encoder")

    apart = 0
    for name in model.names:
        encoded("predict", lambda params, batch, name=name: model.predict(params, name, batch.x), (False, False))
        with_both = lambda params, batch, name=name: model.predict(params, name, batch.x, key=key, mask=batch.mask)  # noqa: E731
        apart += encoded("predict", with_both, (True, True))
    together = encoded("joint_losses", lambda params, batch: model.joint_losses(params, key, batch), (True, True))
    if apart and (together < apart) is not shares_features:
        raise ValueError(
            "joint_losses must run the encoder once for all tasks exactly where shares_features says so; got "
            f"shares_features={shares_features} and {together} runs, where the tasks one by one have {apart}."
        )


def check_keys(trial: Trial, made: dict[str, Made]) -> None:
    """Keys matter where the model draws, and nowhere else."""
    for name, judged in made[PLAIN].losses().items():
        if same(judged[:2], made["by another key"].losses()[name][:2]) is trial.draws:
            got = "ignores it" if trial.draws else "changes with it"
            raise ValueError(f"{name} must use its key exactly where draws says so; got draws={trial.draws} and one that {got}.")


def check_losses(trial: Trial, made: dict[str, Made]) -> None:
    """Losses are what predictions cost, each target by its weight, and together the same."""
    for found in (made[PLAIN], made["of other weights"], made[f"with {STRANGE[0]} in missing targets"]):
        if not all(np.isfinite(flat(judged[:2])).all() for judged in found.losses().values()):
            raise ValueError("losses must be finite and have finite gradients; got NaN or infinity.")
        if trial.draws:
            continue
        alone, joint = found.objectives, found.joint_losses
        _check_equal(trial, alone.values, found.scores, "objectives must be loss_fns of what predict says, each target by its weight")
        promise = "joint_losses must be the objectives of the tasks on the same rows, in the order of their names, with their gradients"
        _check_equal(trial, joint[:2], alone[:2], promise)
        if found.by_features is not None:
            total = jax.tree.map(lambda leaf: leaf.sum(axis=0), alone.gradients)
            _check_equal(trial, found.by_features, total, "joint_losses must have the same gradient by way of the features")


def check_padding(trial: Trial, made: dict[str, Made]) -> None:
    for value in STRANGE:
        found, real = made[f"with {value} in masked rows"], np.asarray(trial.batch.mask)
        one, other = (jax.tree.map(lambda leaf: leaf[real], outputs) for outputs in (found.outputs, made[PLAIN].outputs))
        _check_equal(trial, one, other, f"predict must not depend on what masked rows hold, such as {value}")
        _check_alike(trial, found, made[PLAIN], f"must not depend on what masked rows hold, such as {value}")


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
    _check_nothing(made["without targets"], names == names, "where all tasks are absent")
    _check_nothing(made["without rows"], names == names, "where all rows are masked")


def check_metrics(trial: Trial, made: dict[str, Made]) -> None:
    """Metrics say the losses, and what is present; those of an absent task are NaN, and in no mean."""
    names = trial.model.names
    for absent in ((), *((name,) for name in names), names):
        case = "without targets" if absent == names else f"without {absent[0]}" if absent else PLAIN
        for what, (values, _, metrics) in made[case].losses().items():
            there = ~np.isin(names, absent)
            known = {f"{name}/loss": value if present else np.nan for name, value, present in zip(names, values, there, strict=True)}
            known |= {PRESENT: there, "loss": values.sum() / max(there.sum(), 1)}
            for name, value in known.items():
                got = metrics.get(name, "no such metric")
                if isinstance(got, str) or not np.allclose(got, value, rtol=trial.tolerance, equal_nan=True):
                    raise ValueError(f"{what} must say in their metrics what is present and what it costs; got {got} for {name}, expected {value}.")


def check_sharing(trial: Trial, made: dict[str, Made]) -> None:
    """Shared is what the losses of two tasks reach, own what that of one reaches."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(made[PLAIN].objectives.gradients):
        reached = [name for name, row in zip(trial.model.names, leaf, strict=True) if row.any()]
        got = f"got {path_of(path)}, which is reached by {reached}"
        if path[0].name == "encoder" and len(reached) < 2:
            raise ValueError(f"shared parameters must be reached by the losses of two tasks; {got}.")
        if path[0].name == "head" and reached != [path[1].key]:
            raise ValueError(f"own parameters must be reached by the loss of their task, and by no other; {got}.")


def check_batches(trial: Trial, made: dict[str, Made]) -> None:
    """Masked rows and those without a target may as well not be there: batches of a size of their own, not mapped."""
    if trial.draws:
        return
    batches = own(missing(trial.batch, 0))
    (values, _), gradients = jax.jit(task_gradients(trial.model.objectives))(trial.params, jax.random.key(SEED), batches)
    promise = "objectives must be the same for the rows that count alone as for a mapped batch with masked rows and weights of 0"
    _check_equal(trial, (values, gradients), made["with 0 in missing targets"].objectives[:2], promise)


def check_one_task(trial: Trial) -> None:
    """A task may be alone."""
    (name, *_), key = trial.model.names, jax.random.key(SEED)
    model = trial.build(*parts([name], []))
    batch = trial.batch._replace(y={name: trial.batch.y[name]}, weights={name: trial.batch.weights[name]})
    params = model.init(key, batch)
    (value, _), (values, _) = model.objectives[name](params, key, own(batch)[name]), model.joint_losses(params, key, batch)
    if not trial.draws:
        _check_equal(trial, values, value, "joint_losses of one task alone must be its objective")


def _traced(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(call, *arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must run under jit, for batches of any size; got an error: {first_line(error)}") from error


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
    for name, judged in got.losses().items():
        one, other = (jax.tree.map(lambda leaf: leaf[tasks], found[:2]) for found in (judged, expected.losses()[name]))
        _check_equal(trial, one, other, f"{name} {promise}")


def _check_nothing(made: Made, tasks: np.ndarray, case: str) -> None:
    for name, judged in made.losses().items():
        if flat(jax.tree.map(lambda leaf: leaf[tasks], judged[:2])).any():
            raise ValueError(f"{name} must be 0 and have a gradient of zeros {case}; got losses {judged.values}.")
