"""Mutants of the core modules against the tests of their module: ``python -m benchmarks.mutants``.

Cosmic Ray makes the mutants; they are drawn by place first and then by kind, so that an operator with many replacements counts
once. Each is applied in a checkout of HEAD, and the tests of its module run until one fails. It needs ``pip install cosmic-ray``,
in any environment, whose command is ``--cosmic-ray``. A warm compilation cache (``JAX_COMPILATION_CACHE_DIR``) saves most of the
time. Writes ``benchmarks/results/mutants.json``; those that are there already are not run again, but for ``--again`` those that
had survived, after tests were added.
"""

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "mutants.json"
SECONDS = 900
# The tests of a module: those under its own name, and those of what is built on it alone.
TESTS: dict[str, list[str]] = {
    "_adaptation": ["test_adaptation.py", "test_learners.py"],
    "_adjoints": ["test_adaptation.py", "optimization_based/test_imaml.py"],
    "_chunks": ["test_training.py", "test_absent_tasks.py"],
    "_distances": ["metric_based/test_prototypical.py"],
    "_episodes": ["test_evaluation.py", "tasks/test_groups.py"],
    "_estimates": ["test_evaluation.py"],
    "_gradients": ["test_objectives.py", "test_absent_tasks.py", "test_sharding.py"],
    "_learners": ["test_learners.py", "test_protocol.py", "optimization_based", "test_evaluation.py"],
    "_loading": ["test_training.py"],
    "_named": ["test_absent_tasks.py", "weighting"],
    "_objectives": ["test_objectives.py", "multitask", "test_absent_tasks.py", "test_families.py"],
    "_optimizers": ["test_optimizers.py"],
    "_paths": ["test_optimizers.py", "optimization_based"],
    "_phases": ["test_steps.py"],
    "_precision": ["test_precision.py"],
    "_presence": ["test_absent_tasks.py", "test_objectives.py"],
    "_reporting": ["test_training.py", "test_resume.py"],
    "_rows": ["test_masks.py", "test_objectives.py", "metric_based"],
    "_scoring": ["test_masks.py", "test_objectives.py", "test_misuse.py"],
    "_steps": ["test_steps.py", "test_training.py", "weighting", "aggregation"],
    "_validation": ["test_misuse.py", "tasks", "test_evaluation.py", "test_models.py"],
    "checkpointing": ["test_checkpointing.py", "test_training.py"],
    "evaluation": ["test_evaluation.py", "test_masks.py"],
    "models": ["test_models.py"],
    "predictions": ["test_predictions.py", "multitask"],
    "sharding": ["test_sharding.py"],
    "sweeping": ["test_sweeping.py"],
    "training": ["test_training.py"],
}


class Mutant(NamedTuple):
    """One change of one module, as Cosmic Ray names it."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int


def draw(checkout: Path, command: str, count: int, seed: int) -> list[Mutant]:
    """Draws mutants of the core modules, uniformly over the places that can be changed."""
    with tempfile.TemporaryDirectory() as folder:
        config, session = Path(folder) / "config.toml", Path(folder) / "session.sqlite"
        paths = json.dumps([f"jmeta/{name}.py" for name in sorted(TESTS)])
        config.write_text(
            f'[cosmic-ray]\nmodule-path = {paths}\ntimeout = {SECONDS}\nexcluded-modules = []\ntest-command = "true"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
        )
        subprocess.run([command, "init", str(config), str(session)], cwd=checkout, check=True, capture_output=True)
        found = sqlite3.connect(session).execute(
            "select module_path, operator_name, occurrence, start_pos_row, start_pos_col from mutation_specs"
        )
        mutants = sorted(Mutant(*row) for row in found)
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for mutant in mutants:
        # A bar stands in annotations, where another operator fails on import, and between dicts.
        if "BitOr_" not in mutant.operator:
            places.setdefault((mutant.module, mutant.line, mutant.column), []).append(mutant)
    random_ = random.Random(seed)
    return [random_.choice(places[place]) for place in random_.sample(sorted(places), count)]


def verdict(checkout: Path, command: str, mutant: Mutant) -> dict[str, Any]:
    """Applies a mutant, runs the tests of its module until one fails, and takes it back."""
    subprocess.run([command, "apply", mutant.module, mutant.operator, str(mutant.occurrence)], cwd=checkout, check=True)
    change = subprocess.run(["git", "diff", "-U0", "--", mutant.module], cwd=checkout, check=True, capture_output=True, text=True)
    tests = [f"tests/{name}" for name in TESTS[Path(mutant.module).stem]]
    run = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ended = subprocess.run(run, cwd=checkout, capture_output=True, text=True, timeout=SECONDS, check=False)
        caught, by = ended.returncode != 0, ended.stdout.strip().splitlines()[-2:]
    except subprocess.TimeoutExpired:
        caught, by = True, ["did not end"]
    subprocess.run(["git", "checkout", "--", mutant.module], cwd=checkout, check=True, capture_output=True)
    lines = [line for line in change.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return mutant._asdict() | {"caught": caught, "by": by[0] if caught and by else "", "change": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--cosmic-ray", default="cosmic-ray", help="the command of Cosmic Ray")
    parser.add_argument("--again", action="store_true", help="run those again that survived")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        subprocess.run(["git", "worktree", "add", "--detach", str(checkout), "HEAD"], cwd=ROOT, check=True, capture_output=True)
        try:
            results = json.loads(RESULT.read_text()) if RESULT.exists() else []
            results = [result for result in results if result["caught"] or not options.again]
            for mutant in draw(checkout, options.cosmic_ray, options.count, options.seed):
                known = [result for result in results if Mutant(*(result[field] for field in Mutant._fields)) == mutant]
                if not known:
                    results.append(verdict(checkout, options.cosmic_ray, mutant))
                    RESULT.write_text(json.dumps(results, indent=1) + "\n")
                    print(
                        len(results), mutant, "caught" if results[-1]["caught"] else f"SURVIVED {results[-1]['change']}", flush=True
                    )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(checkout)], cwd=ROOT, check=True, capture_output=True)
    caught = sum(result["caught"] for result in results)
    print(f"{caught} of {len(results)} caught")


if __name__ == "__main__":
    main()
