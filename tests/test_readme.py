"""The README tells the truth about the repository."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks import report, wanted

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
HELPERS = {
    *("_aggregate", "_evaluation", "_experts", "_fitted", "_gaussian", "_gramian", "_multitask", "_process", "_solvers"),
    *("_spectrum", "_support", "_told", "_towers"),
}
ALGORITHMS = sorted(
    str(path.relative_to(ROOT))
    for family in ("optimization_based", "metric_based", "model_based", "multitask", "weighting", "aggregation")
    for path in (ROOT / "jmeta" / family).glob("_[a-z]*.py")
    if path.stem not in HELPERS
)


def test_the_first_two_shell_blocks_are_one_command_each():
    shell = [text.strip().splitlines() for language, text in BLOCKS if language == "sh"]
    assert [len(lines) for lines in shell[:2]] == [1, 1]
    assert "jmeta train maml sinusoid" in shell[0][0]
    assert "pytest" in shell[1][0]


def test_the_library_example_is_at_most_25_lines_of_python():
    example = next(text for language, text in BLOCKS if language == "python")
    ast.parse(example)
    assert len(example.splitlines()) <= 25


def test_the_design_is_told_in_under_60_lines():
    design = README.split("## Design\n")[1].split("\n## ")[0]
    assert len(design.splitlines()) < 60


@pytest.mark.parametrize("path", ALGORITHMS)
def test_every_algorithm_has_a_row(path):
    assert f"| `{path}` |" in README


def test_the_results_are_those_of_the_files():
    shown = README.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert shown == report.headlines()
    assert len(shown.splitlines()) <= 2 + 15
    assert report.PAGE.read_text() == report.page()


def test_every_published_number_shown_is_beside_one_of_ours():
    assert set(wanted.PUBLISHED) <= {result["job"] for result in report.load("accuracy")}


def test_the_readme_is_short_but_for_its_table_of_algorithms():
    rows = README.split("## Algorithms\n")[1].split("\n## ")[0].splitlines()
    assert len(README.splitlines()) - len(rows) < 205
