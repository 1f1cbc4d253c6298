"""Puts the results of ``benchmarks/results`` into the README: ``python -m benchmarks.report``; with ``--check`` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
# From tables 1 and 2 of Finn et al. (2017), for comparison.
PUBLISHED = {"sinusoid-maml": "0.67 / 0.38 / 0.35", "sinusoid-pretrained": "2.41 / 2.23 / 2.19"}
PUBLISHED |= {"omniglot-5way-1shot-maml": "98.7 ± 0.4"}


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
    return "\n\n".join([*error_table(errors), *accuracy_table(accuracies), origins(results)])


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
