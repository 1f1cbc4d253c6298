"""What there is, as lines of text."""

import textwrap
from collections.abc import Sequence

from jmeta._catalogue.combining import AGGREGATORS, WEIGHTINGS
from jmeta._catalogue.tables import FAMILIES, PROBLEMS, solves

GAP, WIDTH = "  ", 120


def listing() -> str:
    """Writes the methods by family, headed by the problems that each of them solves, and a line on each problem."""
    width = max(len(name) for family in FAMILIES.values() for name in family) + len(GAP)
    lines = []
    for family, methods in FAMILIES.items():
        problems = [problem for problem in PROBLEMS if all(solves(name, problem) for name in methods)]
        lines.append(f"{family:<{width}}{GAP}each on {', '.join(problems)}")
        lines += [f"{GAP}{name:<{width}}{method.description}" for name, method in methods.items()]
        lines.append("")
    return "\n".join([*lines, *problem_lines(list(PROBLEMS)), "", *_combinings()])


def _combinings() -> list[str]:
    rows = {"weightings": WEIGHTINGS, "aggregators": AGGREGATORS}
    lines = ["What becomes of the losses or gradients of several tasks, --combining:"]
    for kind, names in rows.items():
        lines += textwrap.wrap(f"{kind}: {', '.join(sorted(names))}", WIDTH, initial_indent=GAP, subsequent_indent=2 * GAP)
    return lines


def problem_lines(names: Sequence[str]) -> list[str]:
    """Writes a line on each problem: its kinds and its description."""
    width = max(map(len, names)) + len(GAP)
    return [f"{name:<{width}}{' or '.join(sorted(PROBLEMS[name].kinds))}: {PROBLEMS[name].description}" for name in names]
