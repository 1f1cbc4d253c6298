"""What there is, as lines of text."""

from collections.abc import Sequence

from jmeta._catalogue.tables import FAMILIES, PROBLEMS, solves

MARK, GAP = "x", "  "


def listing() -> str:
    """Writes a table of methods against problems, marked where they fit, and a line on each problem."""
    width = max(len(name) for family in FAMILIES.values() for name in family) + len(GAP)
    columns = [len(name) for name in PROBLEMS]
    lines = []
    for family, methods in FAMILIES.items():
        lines.append(f"{family:<{width}}{GAP}{GAP.join(PROBLEMS)}")
        for name, method in methods.items():
            marks = [MARK if solves(name, problem) else "" for problem in PROBLEMS]
            cells = GAP.join(f"{mark:^{column}}" for mark, column in zip(marks, columns, strict=True))
            lines.append(f"{GAP}{name:<{width}}{cells}{GAP}{method.description}")
        lines.append("")
    return "\n".join([*lines, *problem_lines(list(PROBLEMS))])


def problem_lines(names: Sequence[str]) -> list[str]:
    """Writes a line on each problem: its kinds and its description."""
    width = max(map(len, names)) + len(GAP)
    return [f"{name:<{width}}{' or '.join(sorted(PROBLEMS[name].kinds))}: {PROBLEMS[name].description}" for name in names]
