"""The table of learners on functions of several kinds, from the files that ``python -m benchmarks.unified`` wrote."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.accuracy import RESULTS
from jmeta import estimate

STEPS = ("0", "1", "5", "10")
BASE = "maml"
# The row of UMTL itself, by whose embeddings the kinds are told apart; the others are its ablations.
ORDER = ("maml", "meta_sgd", "boil", "cavia", "learned_update_rule", "learned_objective", "film", "unified")


def unified_tables() -> list[str]:
    """Makes the table, if there is a result."""
    found = {result["learner"]: result for result in map(_read, RESULTS.glob("unified-*.json"))}
    if not found:
        return []
    rows = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    head = ["multimodal, 5 shots: squared error", *(f"after {steps}" for steps in STEPS), "less than MAML's after 5"]
    head += ["kinds told apart, %", "step size", "minutes", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(line(found[name], found.get(BASE)) for name in rows)]
    settings = found[rows[0]]["settings"]
    rates = ", ".join(f"{rate:g}" for rate in settings["rates"])
    remark = (
        f"{settings['steps']} steps of {settings['tasks']} tasks, {settings['inner_steps']} inner steps; each learner's step size "
        f"is the best of {rates} on validation tasks after 5 steps; {settings['episodes']} test tasks, 95 % intervals over them, "
        "of means of the seeds, and of paired differences. Diverged: the loss of training was not finite with any step size."
    )
    return ["\n".join([*lines, "", remark])]


def _read(path: Any) -> dict[str, Any]:
    return json.loads(path.read_text())


def line(result: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    """Makes the row of a learner."""
    if "after_steps" not in result:
        return f"| {' | '.join([result['learner'], 'diverged', *[''] * 7, '0'])} |"
    cells = [result["learner"], *(_shown(result["after_steps"][steps]) for steps in STEPS)]
    compared = base is not None and base is not result
    cells.append(_difference(result, base) if compared and base is not None else "")
    told, minutes = result["modes_told"], result["training_minutes"]
    cells += [f"{100 * np.mean(told):.1f}" if told else "", f"{result['settings']['inner_rate']:g}"]
    cells += [f"{np.mean(minutes):.1f} ({result['device']})", str(len(minutes))]
    return f"| {' | '.join(cells)} |"


def _difference(result: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    key = "episodes_after_5_steps"
    return _shown(estimate(np.subtract(base[key], result[key]))._asdict())


def _shown(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.2f} ± {found['half_width']:.2f}"
