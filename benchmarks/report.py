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


def accuracy_table() -> str:
    """Makes the table of accuracies and errors."""
    lines = [
        "| job | metric | after 0 steps | 1 | 5 | 10 | published | normalisation | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in load("accuracy"):
        metric = "accuracy, %" if result["metric"] == "accuracy" else "mean squared error"
        normalization = result["normalization"] + (", transductive" if result["transductive"] else "")
        training = f"{result['training_minutes']:.1f} min, {result['cores']} cores ({result['device']})"
        cells = [cell(result, steps) for steps in ("0", "1", "5", "10")]
        published = PUBLISHED.get(result["job"], "")
        lines.append(f"| {result['job']} | {metric} | {' | '.join(cells)} | {published} | {normalization} | {training} |")
    return "\n".join(lines)


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    fresh = f"{before}{BEGIN}\n{accuracy_table()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if fresh == text else "README.md differs from benchmarks/results: run python -m benchmarks.report.")
    path.write_text(fresh)


if __name__ == "__main__":
    main()
