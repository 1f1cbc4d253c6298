"""The table of learners on functions of several kinds, from the files that ``python -m benchmarks.unified`` wrote."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.accuracy import RESULTS
from benchmarks.transfer.tables import table
from benchmarks.unified import FACTORS, LEARNERS
from jmeta import estimate

STEPS = ("0", "1", "5", "10")
BASE = "maml"


def unified_tables() -> list[str]:
    """Makes the table, if there is a result; learners in the order of the benchmark."""
    results = [json.loads(path.read_text()) for path in RESULTS.glob("unified-*.json")]
    found = {result["learner"]: result for result in sorted(results, key=lambda result: list(LEARNERS).index(result["learner"]))}
    if not found:
        return []
    head = ["multimodal, 5 shots: squared error", *(f"after {steps}" for steps in STEPS), "less than MAML's after 5"]
    head += ["kinds told apart, %", "step size", "minutes", "seeds"]
    settings = next(iter(found.values()))["settings"]
    rates = ", ".join(f"{rate:g}" for rate in settings["rates"])
    factors = ", ".join(f"times {factor} for {name}" for name, factor in FACTORS.items())
    remark = (
        f"{settings['steps']} steps of {settings['tasks']} tasks, {settings['inner_steps']} inner steps; each learner's step size "
        f"is the best of {rates} ({factors}) on validation tasks after 5 steps; {settings['episodes']} test tasks, 95 % intervals "
        "over them, of means of the seeds, and of paired differences. Diverged: the loss of training was not finite with any step "
        "size. Minutes are of a clock on the wall, beside other jobs on the same two cores."
    )
    return [table(head, [row(result, found.get(BASE)) for result in found.values()], remark)]


def row(result: Mapping[str, Any], base: Mapping[str, Any] | None) -> list[str]:
    """Makes the cells of a learner."""
    minutes, seeds = result.get("training_minutes", []), result["settings"]["seeds"]
    trained = f"{len(minutes)} of {seeds}"
    if "after_steps" not in result:
        return [result["learner"], "diverged", *[""] * 7, trained]
    told, key = result["modes_told"], "episodes_after_5_steps"
    less = "" if base in (None, result) else _shown(estimate(np.subtract(base[key], result[key]))._asdict())
    return [
        *(result["learner"], *(_shown(result["after_steps"][steps]) for steps in STEPS), less),
        f"{100 * np.mean(told):.1f}" if told else "",
        f"{FACTORS.get(result['learner'], 1) * result['settings']['inner_rate']:g}",
        f"{np.mean(minutes):.1f} ({result['device']})",
        trained,
    ]


def _shown(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.2f} ± {found['half_width']:.2f}"
