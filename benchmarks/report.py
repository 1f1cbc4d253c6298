"""Puts the results of ``benchmarks/results`` into the README: ``python -m benchmarks.report``; with ``--check`` only compares."""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
# From tables 1 and 2 of Finn et al. (2017), for comparison.
PUBLISHED = {"sinusoid-maml": "0.67 / 0.38 / 0.35", "sinusoid-pretrained": "2.41 / 2.23 / 2.19"}
PUBLISHED |= {"omniglot-5way-1shot-maml": "98.7 ± 0.4"}
# The smallest ratios that the project wants: of the peer's time to ours.
WANTED = {(f"sinusoid-maml-{steps}", peer): "50" for steps in (1, 5) for peer in ("learn2learn", "higher")}
WANTED |= {(f"sinusoid-maml-{steps}", "torch.func"): "6" for steps in (1, 5)}
WANTED |= {
    (f"omniglot-maml-{steps}", peer): "2"
    for steps in (1, 5)
    for peer in ("torch", "torch.func", "learn2learn", "higher", "torchopt")
}
WANTED |= {(f"omniglot-maml-{steps}", "jax-lax.conv-vmap"): "20" for steps in (1, 5)}
WANTED |= {
    ("prototypical", "torch"): "1.2",
    ("pcgrad-4", "torchjd"): "1",
    ("pcgrad-16", "torchjd"): "1",
    ("pcgrad-64", "torchjd"): "2",
}
# Text, question and figure in speed-DEVICE.json, and what the project wants of it, if anything.
FIGURES = (
    ("time against tasks, 4 to 64: exponent", "growth-tasks", "slope", "at most 1.05"),
    ("time against inner steps, 1 to 32: exponent", "growth-steps", "slope", "at most 1.05"),
    ("memory against tasks, four at a time: exponent", "memory-tasks", "slope", "at most 0.1"),
    ("64 inner steps, memory over plain reverse mode", "memory-steps", "memory_ratio", "at most 0.1"),
    ("the same, time", "memory-steps", "time_ratio", "at most 1.2"),
    ("cold compile, sinusoid step, s", "cold-compile", "sinusoid_seconds", "at most 2"),
    ("cold compile, convolutional step, s", "cold-compile", "convolutional_seconds", "at most 6"),
    ("second process, after the imports, s", "second-process", "after_imports_seconds", "at most 1.5"),
    ("second process, in all, s", "second-process", "in_all_seconds", "at most 4"),
    ("convolutional step, share of the rate of a 2048 product", "share-of-rate", "share", "at least 0.5"),
    ("its time with one device per core, over one device", "devices", "one_step_ratio", "at most 1"),
    ("the same, 5 inner steps", "devices", "five_steps_ratio", "at most 1"),
    ("its time, 5 inner steps, in mixed mode, over the default", "adjoint", "mixed_ratio", ""),
    ("the same, activations kept", "adjoint", "kept_ratio", ""),
    ("the same, loop unrolled", "adjoint", "unroll_ratio", ""),
    ("peak memory over what `cost` says", "cost", "ratio", "0.85 to 1.15"),
    ("`fit` over the bare compiled loop", "fit", "ratio", "at most 1.05"),
)


def path_of(kind: str, device: str) -> Path:
    """Names the file of a kind of results on a device, such as ``"cpu"`` or jax's ``"NVIDIA H100 80GB HBM3"``."""
    return RESULTS / f"{kind}-{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def load(kind: str) -> list[dict[str, Any]]:
    """Reads the results of one kind of benchmark, by file name."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{kind}-*.json"))]


def cell(result: dict[str, Any], steps: str) -> str:
    """Formats an estimate: percent for accuracies, the plain number otherwise."""
    found = result["after_steps"].get(steps)
    if found is None:
        return ""
    scale, digits = (100, 1) if result["metric"] == "accuracy" else (1, 3)
    return f"{scale * found['mean']:.{digits}f} ± {scale * found['half_width']:.{digits}f}"


def tables() -> str:
    """Makes the tables of errors and of accuracies."""
    results = load("accuracy")
    errors = [result for result in results if result["metric"] != "accuracy"]
    accuracies = [result for result in results if result["metric"] == "accuracy"]
    return "\n\n".join([*error_table(errors), *accuracy_table(accuracies), origins(results), *speed_tables()])


def error_table(results: list[dict[str, Any]]) -> list[str]:
    """Makes the table of regression: the mean squared error after gradient steps on the test's shots."""
    lines = [
        "| sinusoids, 5 shots, mean squared error | 0 steps | 1 | 5 | 10 | published (1 / 5 / 10) |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        cells = " | ".join(cell(result, steps) for steps in ("0", "1", "5", "10"))
        lines.append(f"| {result['job'].removeprefix('sinusoid-')} | {cells} | {PUBLISHED[result['job']]} |")
        for name, found in result.get("references", {}).items():
            lines.append(f"| {name} | {found['mean']:.3f} ± {found['half_width']:.3f} | | | | expected {found['expected']:.2f} |")
    return ["\n".join(lines)] if results else []


def accuracy_table(results: list[dict[str, Any]]) -> list[str]:
    """Makes the table of classification: the accuracy after the training number of steps."""
    lines = ["| accuracy, % | ours | published | normalisation | network |", "|---|---|---|---|---|"]
    for result in results:
        steps = str(result["settings"].get("inner_steps", 0))
        normalization = result["normalization"] + (", transductive" if result["transductive"] else ", not transductive")
        published = PUBLISHED.get(result["job"], "")
        lines.append(
            f"| {result['job']} | {cell(result, steps)} | {published} | {normalization} | {result['settings']['network']} |"
        )
    return ["\n".join(lines)] if results else []


def origins(results: list[dict[str, Any]]) -> str:
    """Says on what the results were measured."""
    minutes = ", ".join(f"{result['job']} {result['training_minutes']:.1f}" for result in results)
    machines = sorted({f"{result['cores']} cores ({result['device']}), jax {result['versions']['jax']}" for result in results})
    return f"Minutes of training, validation included, on {'; '.join(machines)}: {minutes}."


def speed_tables() -> list[str]:
    """Makes, for each device, the table of peers and the table of our own figures."""
    tables = []
    for path in sorted(RESULTS.glob("peers-*.json")):
        rows = json.loads(path.read_text())
        lines = [
            f"| on {path.stem.removeprefix('peers-')} | peer | ours, ms | peer, ms | how much faster (range) | wanted |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            spread = f"{row['ratio']:.3g} ({row['ratio_min']:.3g} to {row['ratio_max']:.3g})"
            times = f"{row['ours_ms']:.3g} | {row['peer_ms']:.3g}"
            lines.append(f"| {row['work']} | {row['peer']} | {times} | {spread} | {WANTED.get((row['work'], row['peer']), '')} |")
        dates = sorted({row["date"] for row in rows})
        lines += [
            "",
            f"Medians over rounds in turn, {' and '.join(dates)}; below 1 the peer is faster.",
        ]
        tables.append("\n".join(lines))
    for path in sorted(RESULTS.glob("speed-*.json")):
        found = json.loads(path.read_text())
        lines = [f"| on {path.stem.removeprefix('speed-')} | measured | wanted |", "|---|---|---|"]
        figures = [(text, found[name][key], wanted) for text, name, key, wanted in FIGURES if name in found]
        tables.append("\n".join([*lines, *(f"| {text} | {value:.3g} | {wanted} |" for text, value, wanted in figures)]))
    plots = [f"![{path.stem}]({path.relative_to(ROOT).as_posix()})" for path in sorted(RESULTS.glob("plots/*.svg"))]
    if plots:
        tables.append("\n".join(["<details><summary>One plot per question</summary>", "", *plots, "", "</details>"]))
    return tables


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    fresh = f"{before}{BEGIN}\n{tables()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if fresh == text else "README.md differs from benchmarks/results: run python -m benchmarks.report.")
    path.write_text(fresh)


if __name__ == "__main__":
    main()
