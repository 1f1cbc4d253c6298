"""Reading the options of a command; tyro does it, but for what it lets pass."""

import dataclasses
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from jmeta._catalogue.options import SECTIONS, Config
from jmeta._catalogue.pretraining import PRETRAINING
from jmeta._catalogue.sweeps import Plan, read_values
from jmeta._catalogue.tables import METHODS, PROBLEMS, default_config, solves
from jmeta._options import check_counts


class UsageError(ValueError):
    """The command line makes no sense."""


class Training(NamedTuple):
    """What ``jmeta train`` is asked for.

    Attributes:
      directory: the folder of the run.
      costs: whether to say first what a step costs.
      config: the options.
      plan: what to try, where several settings or seeds are.
    """

    directory: Path
    costs: bool
    config: Config
    plan: Plan | None


def read_training(method_name: str, problem_name: str, words: Sequence[str]) -> Training:
    """Reads what follows ``jmeta train METHOD PROBLEM``.

    Raises:
      UsageError: if the method does not solve the problem, or an option is given twice.
      SystemExit: as tyro ends: with 0 after help and with 2 after bad usage.
    """
    config = as_usage(default_config, method_name, problem_name)
    before: list[Any] = [
        ("out", Annotated[Path, _help("folder of the run; made where absent")]),
        ("cost", Annotated[bool, _help("say first what one training step costs, which compiles it once more")], False),
        (
            "sweep",
            Annotated[tuple[str, ...], _help("values of options to try, such as inner_rate=0.01,0.1")],
            (),
        ),
        ("seeds", Annotated[int, _help("train with as many seeds, from 0; the best on validation is kept")], 1),
    ]
    baseline = []
    if solves(PRETRAINING, problem_name) and method_name != PRETRAINING:
        text = "train a pretrained network beside it, to compare with; for regressions"
        baseline = [("baseline", Annotated[bool, _help(text)], config.baseline)]
    methods, problems = METHODS[method_name].description, PROBLEMS[problem_name].description
    description = f"{method_name} {methods}; on {problem_name}: {problems}."
    found = _read(f"jmeta train {method_name} {problem_name}", description, before, config, SECTIONS, baseline, words)
    directory, costs, tried, seeds = (found.pop(name) for name in ("out", "cost", "sweep", "seeds"))
    config = dataclasses.replace(config, **found)
    as_usage(lambda: check_counts(seeds=seeds))
    if not tried and seeds == 1:
        return Training(directory, costs, config, None)
    values = as_usage(read_values, config, tried)
    # Of one setting each seed is tried.
    plan = Plan(values or {"learning_rate": [config.training.learning_rate]}, seeds)
    return Training(directory, costs, dataclasses.replace(config, baseline=False), plan)


def read_testing(directory: Path, config: Config, words: Sequence[str]) -> Config:
    """Reads what follows ``jmeta evaluate DIR``.

    Raises:
      UsageError: if an option is given twice.
      SystemExit: as tyro ends.
    """
    description = (
        "Tests the best parameters of a run, and writes evaluation.json and the plots again. Other options than those of the run "
        "give files of other names, such as evaluation-shots-10-steps-20.json."
    )
    found = _read(f"jmeta evaluate {directory}", description, [], config, ("test", "evaluation"), [], words)
    return dataclasses.replace(config, **found)


def as_usage(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function whose ValueError is about what was typed."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _read(
    program: str,
    description: str,
    before: list[Any],
    config: Config,
    sections: Iterable[str],
    after: list[Any],
    words: Sequence[str],
) -> dict[str, Any]:
    """Lets tyro read options into the sections of a config."""
    tyro = _tyro()
    _check_once(words)
    parts = [(name, getattr(config, name)) for name in sections]
    fields: list[Any] = [(name, type(part), part) for name, part in parts if dataclasses.fields(part)]
    kind = dataclasses.make_dataclass("Options", [*before, *fields, *after], frozen=True)
    return dict(vars(tyro.cli(kind, prog=program, description=description, args=words, config=(tyro.conf.OmitArgPrefixes,))))


def _check_once(words: Sequence[str]) -> None:
    """Refuses an option that is given twice, of which tyro would take the last."""
    names = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    counts = Counter(name.removeprefix("--no-").removeprefix("--") for name in names)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UsageError(f"--{twice[0]} must be given once; got it {counts[twice[0]]} times.")


def _help(text: str) -> Any:
    return _tyro().conf.arg(help=text)


def _tyro() -> Any:
    try:
        return importlib.import_module("tyro")
    except ImportError as error:
        raise ImportError("the command line needs tyro: pip install 'jmeta[cli]'.") from error
