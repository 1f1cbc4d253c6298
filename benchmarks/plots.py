"""Draws one plot per question from the files in ``benchmarks/results``: ``python -m benchmarks.plots``."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.peers.works import AGGREGATORS
from benchmarks.report import RESULTS
from benchmarks.wanted import FIGURES, WANTED

PLOTS = RESULTS / "plots"
BLUE, GREY, RED = "tab:blue", "0.6", "tab:red"
PEERS = {
    "sinusoid": "MAML on sinusoids, 25 tasks, 10 + 10 points: times as fast as",
    "omniglot": "Convolutional MAML, 8 tasks, 5-way 1-shot, times as fast as",
    "prototypical": "Prototypical step, 20-way 5-shot: times as fast as",
    "dense": "Two dense heads, batches of 256: examples a second, times those of",
    "pcgrad": "PCGrad over gradients of 1 M parameters: times as fast as",
    "aggregators": "64 gradients of 1 M parameters: times as fast as",
}
CURVES = {
    "growth-tasks": ("Time of a MAML step, four tasks at once", "tasks", "ms"),
    "growth-steps": ("Time of a MAML step, four tasks", "inner steps", "ms"),
    "memory-tasks": ("Temporary memory of a MAML step, four tasks at once", "tasks", "megabytes"),
}
BARS = {
    "memory-steps": ("64 inner steps, over plain reverse mode", ("memory_ratio", "time_ratio")),
    "cold-compile": ("Tracing and compiling a step, s", ("sinusoid_seconds", "convolutional_seconds")),
    "second-process": ("First convolutional step with a warm cache, s", ("after_imports_seconds", "in_all_seconds")),
    "share-of-rate": ("Convolutional step over a 2048 product, GFLOP/s", ("step_gflops_per_second", "product_gflops_per_second")),
    "devices": ("Convolutional step with one device per core, over one device, time", ("one_step_ratio", "five_steps_ratio")),
    "adjoint": ("Convolutional step, 5 inner steps, over the default adjoint, time", ("mixed_ratio", "kept_ratio", "unroll_ratio")),
    "cost": ("Peak memory over what cost() says", ("ratio",)),
    "fit": ("fit over the bare compiled loop, time", ("ratio",)),
    "second-fit": ("A second fit of the same step, before its first step, s", ("seconds",)),
    "sweep": ("A sweep of 8 rates in one program over 8 runs one after another, time", ("ratio",)),
    "prototypical-memory": ("Gradient of prototypical networks, 400 ways, 400 queries, 512 features, MB", ("megabytes",)),
    "implicit-memory": ("Implicit meta-gradient, 128 inner steps over 1, memory", ("ratio",)),
}


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "jmeta"  # the same results give the same file
    for path in sorted(RESULTS.glob("peers-*.json")):
        rows, device = json.loads(path.read_text()), path.stem.removeprefix("peers-")
        for family, title in PEERS.items():
            of_family = [row for row in rows if is_of(row["work"], family)]
            if of_family:
                save(f"{family}-{device}", lambda axes, rows=of_family, title=title: ratios(axes, rows, title))
    for path in sorted(RESULTS.glob("speed-*.json")):
        found, device = json.loads(path.read_text()), path.stem.removeprefix("speed-")
        for name in found:
            draw = curve if name in CURVES else bars
            save(f"{name}-{device}", lambda axes, draw=draw, name=name, found=found: draw(axes, name, found[name]))


def is_of(work: str, family: str) -> bool:
    """Says whether a plot shows a work: its family's, or with the most tasks one of the aggregators."""
    aggregator, _, tasks = work.rpartition("-")
    return aggregator in AGGREGATORS and tasks == "64" if family == "aggregators" else work.startswith(family)


def save(name: str, draw: Callable[[Axes], None]) -> None:
    """Draws and writes one figure."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    draw(figure.subplots())
    PLOTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})


def ratios(axes: Axes, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draws how much faster ours is than each peer: the median, the range over the rounds, and what is wanted."""
    rows = rows[::-1]
    labels = [row["peer"] + detail(row["work"]) for row in rows]
    for place, row in enumerate(rows):
        axes.plot([row["ratio_min"], row["ratio_max"]], [place, place], color=BLUE, linewidth=2, alpha=0.5)
        axes.plot(row["ratio"], place, "o", color=BLUE, label="median and range" if place == 0 else None)
        wanted = WANTED.get((row["work"], row["peer"]))
        if wanted is not None:
            axes.plot(float(wanted), place, "|", color=RED, markersize=14, markeredgewidth=2)
    axes.plot([], [], "|", color=RED, markersize=14, markeredgewidth=2, label="wanted")
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    if max(row["ratio_max"] for row in rows) < 10:
        axes.set_xticks([0.5, 1, 2, 5])
        axes.xaxis.set_minor_formatter("")
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)


def detail(work: str) -> str:
    """Names what tells the works of a family apart: inner steps, or tasks."""
    family, _, number = work.rpartition("-")
    if family in AGGREGATORS:
        return f", {number} tasks" if family == "pcgrad" else f", {family}"
    return f", {number} step{'' if number == '1' else 's'}" if family else ""


def curve(axes: Axes, name: str, found: Mapping[str, Any]) -> None:
    """Draws a growth on logarithmic axes beside proportional growth."""
    title, x, y = CURVES[name]
    sizes, values = found["sizes"], found[y]
    axes.plot(sizes, values, "o-", color=BLUE, label=f"measured, exponent {found['slope']:.2f}")
    axes.plot(sizes, [values[0] * size / sizes[0] for size in sizes], "--", color=GREY, label="in proportion, exponent 1")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylim(min(values) / 1.5, None)
    axes.set_xlabel(x)
    axes.set_ylabel({"ms": "ms", "megabytes": "MB"}[y])
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def bars(axes: Axes, name: str, found: Mapping[str, Any]) -> None:
    """Draws one to two figures, and what is wanted of each."""
    title, keys = BARS[name]
    wanted = {key: text.split()[-1] for _, question, key, text in FIGURES if question == name and text}
    for place, key in enumerate(reversed(keys)):
        axes.barh(place, found[key], color=BLUE, height=0.5)
        axes.text(found[key], place, f" {found[key]:.3g}", va="center", fontsize=9)
        if key in wanted:
            axes.plot([float(wanted[key])] * 2, [place - 0.35, place + 0.35], color=RED, linewidth=2)
    axes.plot([], [], color=RED, linewidth=2, label="wanted")
    axes.set_yticks(
        range(len(keys)),
        [key.replace("_", " ").removesuffix(" seconds").removesuffix(" gflops per second") for key in reversed(keys)],
    )
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.set_xlim(0, 1.2 * max([*(found[key] for key in keys), *(float(wanted[key]) for key in keys if key in wanted)]))
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    if any(key in wanted for key in keys):
        axes.legend(fontsize=8, loc="lower right")


if __name__ == "__main__":
    main()
