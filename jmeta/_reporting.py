"""What training says to the world: metrics as JSON lines, checkpoints, a progress bar; and what it hears: signals."""

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


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


def start_run(directory: str | Path | None, tree: Any, *, resume: bool) -> Run:
    """Opens a run's files and finds what to start from: ``tree``, or the newest sound checkpoint.

    Raises:
      ValueError: if ``directory`` is None and ``resume`` is set, or if it holds another run.
      FileNotFoundError: if there is nothing to resume.
    """
    if directory is None:
        if resume:
            raise ValueError("directory must be given to resume; got None.")
        return Run(tree, lambda values: None, lambda step, tree: None)
    from jmeta import checkpointing

    directory, step = Path(directory), 0
    if resume:
        step, tree = checkpointing.restore(directory / CHECKPOINTS, tree)
    elif found := checkpointing.steps(directory / CHECKPOINTS):
        raise ValueError(f"directory {directory} already holds a run at step {found[-1]}; resume it or give another directory.")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / METRICS
    # What was logged after the checkpoint will be logged again.
    path.write_text("".join(f"{json.dumps(line)}\n" for line in read_metrics(directory) if line["step"] <= step))

    def write(values: Mapping[str, Any]) -> None:
        with path.open("a") as file:
            file.write(json.dumps(dict(values)) + "\n")

    return Run(tree, write, lambda step, tree: checkpointing.save(directory / CHECKPOINTS, step, tree) and None)


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """Reads the lines of ``metrics.jsonl`` up to the first that a kill has cut short."""
    path, lines = Path(directory) / METRICS, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


@contextlib.contextmanager
def progress_bar(total: int, enabled: bool | None) -> Iterator[Callable[[int, Mapping[str, Any]], None]]:
    """Draws a bar with the loss and the speed; gives ``(done, metrics) -> None`` to move it.

    Args:
      total: the number of steps.
      enabled: None draws in a terminal and in a notebook.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter if enabled is None else enabled):
        yield lambda done, metrics: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=total, speed="")

        def show(done: int, metrics: Mapping[str, Any]) -> None:
            words = [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float)]
            bar.update(task, completed=done, description="  ".join(words[:3]))
            speed = bar.tasks[0].speed
            bar.update(task, speed="" if speed is None else f"{speed:,.0f} steps/s" if speed > 10 else f"{speed:.2f} steps/s")

        yield show


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Turns SIGINT and SIGTERM into a request that is honoured between chunks; gives ``() -> signal or None``.

    Outside the main thread signals cannot be heard, and are left alone. A second SIGINT stops at once.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        if number in heard:
            raise KeyboardInterrupt
        heard.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: heard[0] if heard else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop(number: int) -> None:
    """Ends the process the way the signal would have.

    Raises:
      KeyboardInterrupt: for SIGINT.
      SystemExit: for SIGTERM, with 128 + 15.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
