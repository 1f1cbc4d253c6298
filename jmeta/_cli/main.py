"""The command line: what to do and with which options, read in two phases.

COMMAND, LEARNER, TASKS and DIR are read by hand, because they decide which options there are; tyro reads the options.
"""

import contextlib
import dataclasses
import difflib
import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from jmeta import __version__
from jmeta._cli.baseline import BASELINE
from jmeta._cli.cache import compilation_cache
from jmeta._cli.catalogue import LEARNERS, MEANINGLESS, TASKS, default_config
from jmeta._cli.config import CONFIG, write_config
from jmeta._cli.cost import cost_table
from jmeta._cli.options import Config
from jmeta._cli.recipes import Recipe, build, read_config
from jmeta._cli.report import draw, table
from jmeta._cli.runs import EVALUATION, evaluate_run, is_complete, last_step, train_run

USAGE = """\
usage: jmeta COMMAND ...

  jmeta train LEARNER TASKS --out DIR [options]   train, choose on validation tasks, test, plot
  jmeta evaluate DIR [options]                    test again, with other tasks or steps
  jmeta resume DIR                                go on after an interruption, bit for bit
  jmeta plot DIR                                  draw the plots again
  jmeta list                                      the learners and tasks there are

--help after any of these says more; jmeta --version names the version.

Compiled programs are kept for the next command in jmeta/compilation of the user's cache folder ($XDG_CACHE_HOME or ~/.cache);
JMETA_COMPILATION_CACHE=DIR keeps them elsewhere, JMETA_COMPILATION_CACHE=off nowhere."""
COMMANDS = ("train", "evaluate", "resume", "plot", "list")
HELP = ("-h", "--help")
# The exit codes of a process that a signal has ended.
INTERRUPTED, TERMINATED = 130, 143


class UsageError(ValueError):
    """The command line makes no sense."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code.

    Args:
      arguments: what comes after ``jmeta``; those of the process by default.

    Returns:
      0 for success, 1 for a run that failed, 2 for bad usage, 130 after SIGINT, 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _warnings_as_sentences(), compilation_cache(_complain):
            return _dispatch(words)
    except UsageError as error:
        print(f"jmeta: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        print(f"jmeta: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        # Tyro ends with 0 after help and with 2 after bad usage.
        return stop.code if isinstance(stop.code, int) else 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in HELP:
        print(USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"jmeta {__version__}")
        return 0
    command, rest = _known("command", words[0], COMMANDS), words[1:]
    if command == "list":
        return _list(rest)
    if command == "train":
        return _train(rest)
    return _on_directory(command, rest)


def _list(words: list[str]) -> int:
    if words and words[0] not in HELP:
        raise UsageError(f"list takes nothing after it; got {words[0]!r}.")
    for title, entries in (("learners", LEARNERS), ("tasks", TASKS)):
        print(f"{title}:")
        for name, entry in entries.items():
            print(f"  {name:<22} {entry.description}")
    print("no meaning: " + ", ".join(f"{learner} on {tasks}" for learner, tasks in MEANINGLESS))
    return 0


def _train(words: list[str]) -> int:
    if not words or words[0] in HELP:
        print("usage: jmeta train LEARNER TASKS --out DIR [options]\n")
        return _list([]) or (0 if words else 2)
    learner_name = _known("learner", words[0], LEARNERS)
    possible = [name for name in TASKS if (learner_name, name) not in MEANINGLESS]
    if len(words) == 1 or words[1] in HELP:
        print(f"usage: jmeta train {learner_name} TASKS --out DIR [options]\n")
        print(f"{learner_name} {LEARNERS[learner_name].description}.\nThe options depend on TASKS:")
        for name in possible:
            print(f"  jmeta train {learner_name} {name} --help")
        return 0 if len(words) > 1 else 2
    tasks_name = _known("tasks", words[1], TASKS)
    directory, costs, config = _read_training(learner_name, tasks_name, words[2:])
    if (directory / CONFIG).exists():
        raise UsageError(f"--out {directory} already holds a run; go on with it: jmeta resume {directory}, or give another folder.")
    recipe = _as_usage(build, config)
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory, config)
    if costs:
        _print_cost(recipe)
    return _complete(directory, config)


def _on_directory(command: str, words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        options = " [options]; jmeta evaluate DIR --help lists them" if command == "evaluate" else ""
        print(f"usage: jmeta {command} DIR{options}")
        return 0 if words and words[0] in HELP else 2
    directory = Path(words[0])
    config = read_config(directory)
    if command == "evaluate":
        config = _read_testing(directory, config, words[1:])
        _as_usage(build, config)
        return _report(directory, config)
    if len(words) > 1:
        raise UsageError(f"{command} takes nothing after DIR; got {words[1]!r}.")
    if command == "plot":
        print("wrote " + ", ".join(map(str, draw(directory))))
        return 0
    if is_complete(directory, config):
        again = f"test it again with: jmeta evaluate {directory}"
        print(f"the run in {directory} is complete at step {last_step(directory):,}; {again}")
        return 0
    return _complete(directory, config)


def _complete(directory: Path, config: Config) -> int:
    """Does what is left to do of a run: train, test, draw."""
    try:
        train_run(directory, config, _say)
        return _report(directory, read_config(directory))
    except (KeyboardInterrupt, SystemExit) as stop:
        # What is running is the last of the two that has begun.
        runs = [(run, words) for run, words in ((directory, ""), (directory / BASELINE, " of the baseline")) if run.is_dir()]
        run, words = runs[-1]
        print(f"stopped at step {last_step(run):,}{words}; go on with: jmeta resume {directory}", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED


def _report(directory: Path, config: Config) -> int:
    tested = evaluate_run(directory, config)
    baseline = None
    if config.baseline:
        ran = read_config(directory / BASELINE)
        baseline = evaluate_run(directory / BASELINE, dataclasses.replace(ran, test=config.test, evaluation=config.evaluation))
    print(f"\n{table(tested, baseline)}\n", flush=True)
    try:
        plots = list(map(str, draw(directory)))
    except ImportError as error:
        print(f"no plots: {error} Then: jmeta plot {directory}", file=sys.stderr)
        plots = []
    print("wrote " + ", ".join([str(directory / EVALUATION), *plots]))
    return 0


def _print_cost(recipe: Recipe) -> None:
    costs, problem = cost_table(recipe)
    _say(f"{costs}\n")
    if problem is not None:
        print(f"warning: {problem}", file=sys.stderr)


def _read_training(learner_name: str, tasks_name: str, words: list[str]) -> tuple[Path, bool, Config]:
    config = _as_usage(default_config, learner_name, tasks_name)
    before: list[Any] = [
        ("out", Annotated[Path, _help("folder of the run; made where absent")]),
        ("cost", Annotated[bool, _help("say first what one training step costs, which compiles it once more")], False),
    ]
    baseline = []
    if tasks_name == "sinusoid" and learner_name != "pretraining":
        text = "train a pretrained network beside it, to compare with"
        baseline = [("baseline", Annotated[bool, _help(text)], config.baseline)]
    sections = ("learner", "tasks", "test", "network", "training", "evaluation")
    description = f"{learner_name} {LEARNERS[learner_name].description}; on {tasks_name}: {TASKS[tasks_name].description}."
    found = _read_options(f"jmeta train {learner_name} {tasks_name}", description, before, config, sections, baseline, words)
    return found.pop("out"), found.pop("cost"), dataclasses.replace(config, **found)


def _read_testing(directory: Path, config: Config, words: list[str]) -> Config:
    description = "Tests the best parameters of a run and writes evaluation.json and the plots again."
    found = _read_options(f"jmeta evaluate {directory}", description, [], config, ("test", "evaluation"), [], words)
    return dataclasses.replace(config, **found)


def _read_options(
    program: str,
    description: str,
    before: list[Any],
    config: Config,
    sections: Iterable[str],
    after: list[Any],
    words: list[str],
) -> dict[str, Any]:
    """Lets tyro read options into the sections of a config."""
    tyro = _tyro()
    parts = [(name, getattr(config, name)) for name in sections]
    fields: list[Any] = [(name, type(part), part) for name, part in parts if dataclasses.fields(part)]
    kind = dataclasses.make_dataclass("Options", [*before, *fields, *after], frozen=True)
    return dict(vars(tyro.cli(kind, prog=program, description=description, args=words, config=(tyro.conf.OmitArgPrefixes,))))


def _help(text: str) -> Any:
    return _tyro().conf.arg(help=text)


def _tyro() -> Any:
    try:
        return importlib.import_module("tyro")
    except ImportError as error:
        raise ImportError("the command line needs tyro: pip install 'jmeta[cli]'.") from error


def _known(kind: str, name: str, names: Iterable[str]) -> str:
    if name in (names := list(names)):
        return name
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    question = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise UsageError(f"no {kind} named {name!r}{question} There are: {', '.join(names)}.")


def _as_usage(function: Any, *arguments: Any) -> Any:
    """Calls a function whose ValueError is about what was typed."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _complain(sentence: str) -> None:
    print(f"jmeta: {sentence}", file=sys.stderr)


@contextlib.contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *rest: Any) -> None:
            if category is UserWarning:
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *rest)

        warnings.showwarning = say
        yield
