"""The command line: what to do, read by hand, because COMMAND, METHOD, PROBLEM and DIR decide which options there are."""

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jmeta import __version__
from jmeta._catalogue.baseline import BASELINE
from jmeta._catalogue.config import CONFIG, read_config, write_config
from jmeta._catalogue.domain_results import DomainTested, evaluate_domain_run
from jmeta._catalogue.multitask_results import MultitaskTested, evaluate_multitask_run
from jmeta._catalogue.options import Config
from jmeta._catalogue.recipes import prepared
from jmeta._catalogue.rows import Course
from jmeta._catalogue.runs import Tested, course_of, evaluate_run, is_complete, last_step, train_run
from jmeta._catalogue.sweeps import read_plan, sweep_run, write_plan
from jmeta._catalogue.tables import METHODS, PROBLEMS, is_domain_pair, is_multitask, known, solves
from jmeta._cli.cache import compilation_cache
from jmeta._cli.cost import cost_table
from jmeta._cli.domains import domain_table
from jmeta._cli.listing import listing, problem_lines
from jmeta._cli.multitask import multitask_table
from jmeta._cli.plots import draw
from jmeta._cli.reading import UsageError, as_usage, read_testing, read_training
from jmeta._cli.report import sweep_table, table

USAGE = """\
usage: jmeta COMMAND ...

  jmeta train METHOD PROBLEM --out DIR [options]  train, choose on validation tasks, test, plot
  jmeta evaluate DIR [options]                    test again, with other tasks or steps
  jmeta resume DIR                                go on after an interruption, bit for bit
  jmeta plot DIR                                  draw the plots again
  jmeta list                                      the methods and problems there are

--help after any of these says more; jmeta --version names the version.

Compiled programs are kept for the next command in jmeta/compilation of the user's cache folder ($XDG_CACHE_HOME or ~/.cache);
JMETA_COMPILATION_CACHE=DIR keeps them elsewhere, JMETA_COMPILATION_CACHE=off nowhere."""
COMMANDS = ("train", "evaluate", "resume", "plot", "list")
HELP = ("-h", "--help")
# The exit codes of a process that a signal has ended.
INTERRUPTED, UNREAD, TERMINATED = 130, 141, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code.

    Args:
      arguments: what comes after ``jmeta``; those of the process by default.

    Returns:
      0 for success, 1 for a run that failed, 2 for bad usage, 130 after SIGINT, 141 where nobody reads any more, 143 after
      SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _warnings_as_sentences(), compilation_cache(_complain):
            code = _dispatch(words)
            sys.stdout.flush()
            return code
    except UsageError as error:
        print(f"jmeta: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever reads has left, as head does: what is still to be written goes nowhere, in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
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
    command, rest = as_usage(known, "command", words[0], COMMANDS), words[1:]
    if command == "list":
        return _list(rest)
    if command == "train":
        return _train(rest)
    return _on_directory(command, rest)


def _list(words: list[str]) -> int:
    if words and words[0] not in HELP:
        raise UsageError(f"list takes nothing after it; got {words[0]!r}.")
    print(listing())
    return 0


def _train(words: list[str]) -> int:
    if not words or words[0] in HELP:
        print("usage: jmeta train METHOD PROBLEM --out DIR [options]\n")
        print(listing())
        return 0 if words else 2
    method_name = as_usage(known, "method", words[0], METHODS)
    if len(words) == 1 or words[1] in HELP:
        possible = [name for name in PROBLEMS if solves(method_name, name)]
        print(f"usage: jmeta train {method_name} PROBLEM --out DIR [options]\n")
        print(f"{method_name} {METHODS[method_name].description}.\n")
        print("\n".join(problem_lines(possible)))
        print(f"\nThe options depend on PROBLEM: jmeta train {method_name} {possible[0]} --help")
        return 0 if len(words) > 1 else 2
    directory, costs, config, plan = read_training(method_name, as_usage(known, "problem", words[1], PROBLEMS), words[2:])
    if (directory / CONFIG).exists():
        raise UsageError(f"--out {directory} already holds a run; go on with it: jmeta resume {directory}, or give another folder.")
    config = as_usage(prepared, config, _say)
    course = as_usage(course_of, config)
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory, config)
    if plan is not None:
        write_plan(directory, plan)
    if costs:
        _print_cost(course)
    return _complete(directory, config)


def _on_directory(command: str, words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        options = " [options]; jmeta evaluate DIR --help lists them" if command == "evaluate" else ""
        print(f"usage: jmeta {command} DIR{options}")
        return 0 if words and words[0] in HELP else 2
    directory = Path(words[0])
    config = read_config(directory)
    if command == "evaluate":
        config = read_testing(directory, config, words[1:])
        as_usage(course_of, config)
        return _report(directory, config)
    if len(words) > 1:
        raise UsageError(f"{command} takes nothing after DIR; got {words[1]!r}.")
    if command == "plot":
        print("wrote " + ", ".join(map(str, draw(directory, config))))
        return 0
    if is_complete(directory, config):
        again = f"test it again with: jmeta evaluate {directory}"
        print(f"the run in {directory} is complete at step {last_step(directory):,}; {again}")
        return 0
    return _complete(directory, config)


def _complete(directory: Path, config: Config) -> int:
    """Does what is left to do of a run: train, test, draw."""
    try:
        if (plan := read_plan(directory)) is None:
            train_run(directory, config, _say)
        elif plan.chosen is None:
            print(f"\n{sweep_table(sweep_run(directory, config, plan, _say))}", flush=True)
        return _report(directory, read_config(directory))
    except (KeyboardInterrupt, SystemExit) as stop:
        # What is running is the last of the two that has begun.
        runs = [(run, words) for run, words in ((directory, ""), (directory / BASELINE, " of the baseline")) if run.is_dir()]
        run, words = runs[-1]
        print(f"stopped at step {last_step(run):,}{words}; go on with: jmeta resume {directory}", file=sys.stderr)
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED


def _report(directory: Path, config: Config) -> int:
    tested, text = _tested(directory, config)
    print(f"\n{text}\n", flush=True)
    try:
        plots = list(map(str, draw(directory, config)))
    except ImportError as error:
        print(f"no plots: {error} Then: jmeta plot {directory}", file=sys.stderr)
        plots = []
    print("wrote " + ", ".join([str(tested.path), *plots]))
    return 0


def _tested(directory: Path, config: Config) -> tuple[Tested | MultitaskTested | DomainTested, str]:
    if is_multitask(config):
        tested = evaluate_multitask_run(directory, config)
        return tested, multitask_table(tested)
    if is_domain_pair(config):
        tested = evaluate_domain_run(directory, config)
        return tested, domain_table(tested)
    tested, baseline = evaluate_run(directory, config), None
    if config.baseline:
        ran = read_config(directory / BASELINE)
        baseline = evaluate_run(directory / BASELINE, dataclasses.replace(ran, test=config.test, evaluation=config.evaluation))
    return tested, table(tested, baseline)


def _print_cost(course: Course) -> None:
    costs, problem = cost_table(course)
    _say(f"{costs}\n")
    if problem is not None:
        print(f"warning: {problem}", file=sys.stderr)


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
