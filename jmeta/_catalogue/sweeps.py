"""A run that tries several values of its options with several seeds, and goes on as the one chosen on validation."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import jax
import numpy as np

from jmeta import checkpointing
from jmeta._catalogue.config import check_ranges, fits, write_config, write_json
from jmeta._catalogue.domain_recipes import DomainRecipe, build_domains, domain_trial
from jmeta._catalogue.domain_results import accuracy_of_test
from jmeta._catalogue.multitask_recipes import MultitaskRecipe, build_multitask, multitask_trial
from jmeta._catalogue.multitask_results import loss_of_test
from jmeta._catalogue.options import Config, with_values
from jmeta._catalogue.recipes import Recipe, build, initial_state, learners_of, outer_optimizer, setting_of
from jmeta._catalogue.rows import Say
from jmeta._catalogue.runs import course_of, evaluated, validation_of
from jmeta._catalogue.tables import is_domain_pair, is_multitask
from jmeta._estimates import Estimate, estimate
from jmeta._objectives import over_tasks
from jmeta._reporting import CHECKPOINTS
from jmeta._steps import make_step
from jmeta._types import Params
from jmeta.sweeping import Sweep, Trial, sweep
from jmeta.training import Best, Fitted

SWEEP = "sweep.json"
# Of the training, what may be swept: the rest decides which tasks are drawn, or how long.
SWEPT_TRAINING = ("combining", "learning_rate", "outer_optimizer", "schedule", "clip_norm")


class Plan(NamedTuple):
    """What a sweep tries, and what it found.

    Attributes:
      values: by the name of an option, those to try.
      seeds: how many, from 0.
      rows: of each combination, its values, validation losses and steps by seed; empty until all are trained.
      chosen: which row.
      test: after each number of steps, the mean score of each seed.
      metric: of the test.
    """

    values: dict[str, list[Any]]
    seeds: int
    rows: Sequence[Mapping[str, Any]] = ()
    chosen: int | None = None
    test: Sequence[Sequence[float | None]] = ()
    metric: str = ""


def read_values(config: Config, words: Sequence[str]) -> dict[str, list[Any]]:
    """Reads ``inner_rate=0.01,0.1`` and the like.

    Raises:
      ValueError: if an option is not there, may not be swept, or a value is none of it.
    """
    hints = {**_hints(config.method), **_hints(config.network)}
    hints |= {name: hint for name, hint in _hints(config.training).items() if name in SWEPT_TRAINING}
    values = {}
    for word in words:
        name, equals, listed = word.partition("=")
        name = name.replace("-", "_")
        if name not in hints:
            raise ValueError(f"sweep must name an option among {', '.join(sorted(hints))}; got {name!r}.")
        if not equals or not listed or name in values:
            raise ValueError(f"sweep must be given as {name}=VALUE,VALUE,... once for each option; got {word!r}.")
        values[name] = [_value(name, part, hints[name]) for part in listed.split(",")]
        for value in values[name]:
            check_ranges(with_values(config, **{name: value}))
    return values


def write_plan(directory: Path, plan: Plan) -> None:
    """Writes ``sweep.json``."""
    write_json(directory / SWEEP, plan._asdict())


def read_plan(directory: Path) -> Plan | None:
    """Reads ``sweep.json``; None where the run is no sweep.

    Raises:
      ValueError: if it is damaged, naming the file.
    """
    path = directory / SWEEP
    if not path.is_file():
        return None
    try:
        return Plan(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"file {path} is damaged ({error!r}); start the sweep again in another folder.") from error


def sweep_run(directory: Path, config: Config, plan: Plan, say: Say) -> Plan:
    """Trains every combination with every seed, from where they are, and leaves the chosen one as the run of the folder.

    Args:
      directory: where the run is written.
      config: its options, which lie there already.
      plan: what to try.
      say: is given what happens, a sentence at a time.

    Raises:
      FloatingPointError: if no combination had a finite validation loss.
      KeyboardInterrupt: on SIGINT, after a checkpoint; on SIGTERM, ``SystemExit(143)``.
    """
    recipe, training = _built(config), config.training
    count = math.prod(map(len, plan.values.values()))
    size = f"{count} settings x {plan.seeds} seeds, {training.steps:,} steps each"
    say(f"training {config.method_name} on {config.problem_name}: {size}.")
    found = sweep(
        lambda **values: _trial(with_values(config, **values), recipe),
        plan.values,
        course_of(config).train,
        num_steps=training.steps,
        seeds=plan.seeds,
        directory=directory / "sweep",
        steps_per_chunk=training.steps_per_chunk,
        validate_every=training.validate_every,
    )
    best = int(found.losses[found.chosen].argmin())
    chosen = with_values(config, **found.values[found.chosen], seed=best)
    write_config(directory, chosen)
    _save(directory, chosen, found, best)
    plan = plan._replace(rows=_rows(found), chosen=found.chosen, **_tested(chosen, found, plan.seeds))
    write_plan(directory, plan)
    return plan


def test_of_seeds(plan: Plan) -> Estimate | None:
    """Estimates the score after the last number of steps over the seeds; None for one seed, or where one diverges."""
    last = plan.test[-1] if plan.test else []
    known = [score for score in last if score is not None]
    return estimate(known) if len(known) == len(last) > 1 else None


AnyRecipe = Recipe | MultitaskRecipe | DomainRecipe


def _trial(config: Config, recipe: AnyRecipe) -> Trial:
    if isinstance(recipe, MultitaskRecipe):
        return multitask_trial(config, recipe.splits)
    if isinstance(recipe, DomainRecipe):
        return domain_trial(config, recipe.domains)
    learner, validated = learners_of(config, setting_of(config))
    optimizer = outer_optimizer(config)
    return Trial(
        make_step(over_tasks(learner.loss), optimizer, micro_batch=recipe.micro_batch),
        lambda key: initial_state(config, learner, optimizer, key),
        validation_of(config, recipe, validated),
    )


def _built(config: Config) -> AnyRecipe:
    if is_domain_pair(config):
        return build_domains(config)
    return build_multitask(config) if is_multitask(config) else build(config)


def _save(directory: Path, config: Config, found: Sweep, seed: int) -> None:
    """Leaves the best parameters of the chosen combination and seed as what a training would have written."""
    params: Params = jax.tree.map(lambda leaf: leaf[seed], found.params)
    step, loss = (np.asarray(part[found.chosen, seed]) for part in (found.steps, found.losses))
    start = course_of(config).state
    state = start._replace(params=params, step=jax.numpy.asarray(config.training.steps, start.step.dtype))
    best = Best(params, jax.numpy.asarray(step, state.step.dtype), jax.numpy.asarray(loss, float))
    checkpointing.save(directory / CHECKPOINTS, config.training.steps, Fitted(state, best))


def _rows(found: Sweep) -> list[dict[str, Any]]:
    losses = [[loss if math.isfinite(loss) else None for loss in row] for row in found.losses.tolist()]
    return [
        {"values": dict(values), "losses": row, "steps": steps}
        for values, row, steps in zip(found.values, losses, found.steps.tolist(), strict=True)
    ]


def _tested(config: Config, found: Sweep, seeds: int) -> dict[str, Any]:
    recipe = _built(config)
    of_seeds = [jax.tree.map(lambda leaf, seed=seed: leaf[seed], found.params) for seed in range(seeds)]
    if isinstance(recipe, MultitaskRecipe):
        losses = [loss_of_test(config, recipe, params) for params in of_seeds]
        return {"test": [[loss if math.isfinite(loss) else None for loss in losses]], "metric": "loss"}
    if isinstance(recipe, DomainRecipe):
        return {"test": [[accuracy_of_test(config, recipe, params) for params in of_seeds]], "metric": "accuracy"}
    scores = [evaluated(config, recipe, recipe.learner, params) for params in of_seeds]
    means = [[score.after_steps[at].mean for score in scores] for at in range(len(scores[0].steps))]
    return {"test": [[mean if math.isfinite(mean) else None for mean in row] for row in means], "metric": scores[0].metric}


def _hints(options: Any) -> Mapping[str, Any]:
    """Gives the type of each option, those of its parts included."""
    found = {}
    for name, hint in get_type_hints(type(options)).items():
        found |= _hints(getattr(options, name)) if dataclasses.is_dataclass(hint) else {name: hint}
    return found


def _value(name: str, word: str, hint: Any) -> Any:
    # A rate that is written as a whole number is a rate.
    kinds = [float] if fits(0.5, hint) else [int, str]
    for kind in kinds:
        try:
            value = kind(word)
        except ValueError:
            continue
        if fits(value, hint):
            return value
    raise ValueError(f"{name} must be {getattr(hint, '__name__', hint)}; got {word!r} in sweep.")
