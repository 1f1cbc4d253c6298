"""What training says to the world: metrics as JSON lines, checkpoints, a progress bar; and what it hears: signals."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
SPEED_PERIOD = 600.0  # Seconds.
SHOWN = 3

Show = Callable[[int, Mapping[str, Any]], None]


class Run(NamedTuple):
    """Where a run starts and how it is written down.

    Attributes:
      tree: what to start from.
      write: appends one line of metrics.
      save: ``(step, tree)`` writes a checkpoint.
    """

    tree: Any
    write: Callable[[Mapping[str, Any]], None]
    save: Callable[[int, Any], None]


def start_run(directory: str | Path | None, start: int, tree: Any, *, resume: bool) -> Run:
    """Opens a run's files and finds what to start from: ``tree`` at step ``start``, or the newest sound checkpoint.

    Raises:
      ValueError: if ``directory`` is None and ``resume`` is set, or if it holds another run.
    """
    if directory is None:
        if resume:
            raise ValueError("directory must be given to resume; got None.")
        return Run(tree, lambda values: None, lambda step, tree: None)
    from jmeta import checkpointing

    directory = Path(directory)
    path, checkpoints = directory / METRICS, directory / CHECKPOINTS
    if resume and checkpointing.steps(checkpoints):
        step, tree = checkpointing.restore(checkpoints, tree)
        # What was logged after the checkpoint will be logged again.
        _replace(path, [line for line in _whole_lines(path) if json.loads(line)["step"] <= step])
    else:
        if not resume and (read_metrics(directory) or any(step > start for step in checkpointing.steps(checkpoints))):
            raise ValueError(f"directory {directory} already holds a run; resume it or give another directory.")
        directory.mkdir(parents=True, exist_ok=True)
        _replace(path, [])
        # So that a run can be resumed from its first line on, and a directory that cannot be written is noticed now.
        checkpointing.save(checkpoints, start, tree)

    def write(values: Mapping[str, Any]) -> None:
        with path.open("a") as file:
            file.write(json.dumps({name: _finite(value) for name, value in values.items()}, allow_nan=False) + "\n")

    def save(step: int, tree: Any) -> None:
        checkpointing.save(checkpoints, step, tree)

    return Run(tree, write, save)


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """Reads the lines of ``metrics.jsonl`` up to the first that a kill has cut short; None is a number that was not finite."""
    return [json.loads(line) for line in _whole_lines(Path(directory) / METRICS)]


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return list(itertools.takewhile(_is_json, lines))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _replace(path: Path, lines: list[str]) -> None:
    """Writes a file whole or not at all, whenever the process is killed."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else None


@contextlib.contextmanager
def progress_bar(total: int, enabled: bool | None, console: Console | None = None) -> Iterator[Show]:
    """Draws a bar with the loss and the speed; gives ``(done, metrics) -> None`` to move it.

    Args:
      total: the number of steps.
      enabled: None draws in a terminal and in a notebook.
      console: where to draw; the standard error by default.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter if enabled is None else enabled):
        yield lambda done, metrics: None
        return
    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    # The period covers slow chunks: the speed is taken between their ends.
    bar = Progress(*columns, console=console, disable=console.is_jupyter, speed_estimate_period=SPEED_PERIOD)
    with bar, _notebook_cell(bar) if console.is_jupyter else contextlib.nullcontext(lambda: None) as redraw:
        task = bar.add_task("compiling", total=total, speed="")

        def show(done: int, metrics: Mapping[str, Any]) -> None:
            bar.update(task, completed=done, description="  ".join(_words(metrics)))
            bar.update(task, speed=_speed(bar.tasks[0].speed))
            redraw()

        yield show


@contextlib.contextmanager
def _notebook_cell(bar: Progress) -> Iterator[Callable[[], None]]:
    """Gives ``() -> None`` to draw a bar below a notebook's cell, as text: rich itself would need ipywidgets."""
    from IPython.display import DisplayHandle
    from rich.console import Console

    def text() -> dict[str, str]:
        console = Console(file=io.StringIO(), width=100, force_jupyter=False)
        with console.capture() as captured:
            console.print(bar.get_renderable())
        return {"text/plain": captured.get().rstrip()}

    handle = DisplayHandle()
    handle.display(text(), raw=True)
    yield lambda: handle.update(text(), raw=True)


def _words(metrics: Mapping[str, Any]) -> list[str]:
    """Words for the first metrics that are numbers, the mean where there are several seeds; of a matrix a mean says nothing."""
    numbers = (
        (name, value)
        for name, value in metrics.items()
        if not (isinstance(value, list) and any(isinstance(row, list) for row in value))
    )
    return [f"{name} {_mean(value):.4g}" for name, value in itertools.islice(numbers, SHOWN)]


def _mean(value: Any) -> float:
    return sum(map(_mean, value)) / len(value) if isinstance(value, list) else value


def _speed(speed: float | None) -> str:
    if speed is None:
        return ""
    return f"{speed:,.0f} steps/s" if speed > 10 else f"{speed:.2f} steps/s"


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Turns SIGINT and SIGTERM into a request that is honoured between chunks; gives ``() -> signal or None``.

    Outside the main thread signals cannot be heard, and are left alone. The second of a kind stops at once.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        if number in heard:
            stop(number)
        heard.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: heard[0] if heard else None
    finally:
        for number, handler in previous.items():
            # None is a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def stop(number: int) -> None:
    """Ends the process the way the signal would have.

    Raises:
      KeyboardInterrupt: for SIGINT.
      SystemExit: for SIGTERM, with 128 + 15.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
