"""Methods against a baseline and against each other, from a table of metrics."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jmeta._estimates import Estimate, estimate


def delta_m(method: Mapping[str, float], baseline: Mapping[str, float], *, higher_is_better: Mapping[str, bool]) -> float:
    r"""Averages the relative changes of all metrics from a baseline to a method, in percent; above 0 the method is worse.

    .. math:: \Delta_m = \frac{100}{M} \sum_{i=1}^{M} (-1)^{h_i} \frac{m_i - b_i}{|b_i|}

    with :math:`h_i = 1` where higher is better. The measure is that of Maninis et al. 2019 (1904.08918), the sign that of the
    tables since, where theirs is opposite. A negative baseline does not turn it round, because its absolute value divides.

    >>> better = {"error": False, "accuracy": True}
    >>> delta_m({"error": 0.75, "accuracy": 80.0}, {"error": 1.0, "accuracy": 64.0}, higher_is_better=better)
    -25.0

    Args:
      method: metric by name.
      baseline: metric by name, as a rule of models that were each trained on one task alone.
      higher_is_better: by name, whether a higher value of the metric is better.

    Raises:
      ValueError: if the three do not have the same names, there is none, or a baseline is 0.
    """
    if not baseline or not set(method) == set(baseline) == set(higher_is_better):
        raise ValueError(
            "method, baseline and higher_is_better must name the same metrics, at least one; "
            f"got {sorted(method)}, {sorted(baseline)} and {sorted(higher_is_better)}."
        )
    if zeros := sorted(name for name, value in baseline.items() if value == 0):
        raise ValueError(f"baseline must differ from 0, which no change is relative to; got 0 for {zeros}.")
    worse = [
        (baseline[name] - method[name] if higher else method[name] - baseline[name]) / abs(baseline[name])
        for name, higher in higher_is_better.items()
    ]
    return 100 * float(np.mean(worse))


def paired_delta_m(
    method: Mapping[Any, Mapping[str, float]],
    baseline: Mapping[Any, Mapping[str, float]],
    *,
    higher_is_better: Mapping[str, bool],
) -> Estimate:
    """Estimates :func:`delta_m` over seeds: the mean of that of each seed against the baseline with the same seed, in percent.

    What a seed does to both, such as the split of the data, so cancels. It is a mean of ratios, which a table that compares means
    over seeds is not.

    >>> seeds = {0: {"error": 0.5}, 1: {"error": 0.75}}, {0: {"error": 1.0}, 1: {"error": 1.0}}
    >>> paired_delta_m(*seeds, higher_is_better={"error": False}).mean
    -37.5

    Args:
      method: by seed, metric by name.
      baseline: the same of the baseline.
      higher_is_better: by name, whether a higher value of the metric is better.

    Returns:
      The mean and the half-width of its 95 % interval, which is NaN with one seed.

    Raises:
      ValueError: if the two do not have the same seeds, at least one, or as :func:`delta_m`.
    """
    if not method or set(method) != set(baseline):
        raise ValueError(f"method and baseline must have the same seeds, at least one; got {[*method]} and {[*baseline]}.")
    values = [delta_m(method[seed], baseline[seed], higher_is_better=higher_is_better) for seed in method]
    return estimate(values) if len(values) > 1 else Estimate(values[0], math.nan)


def mean_rank(methods: Mapping[str, Mapping[str, float]], *, higher_is_better: Mapping[str, bool]) -> dict[str, float]:
    """Ranks methods by each metric, 1 the best, and averages the ranks of each; methods that tie share the mean of their ranks.

    >>> table = {"one": {"error": 0.5, "accuracy": 80.0}, "other": {"error": 0.75, "accuracy": 80.0}}
    >>> mean_rank(table, higher_is_better={"error": False, "accuracy": True})
    {'one': 1.25, 'other': 1.75}

    Args:
      methods: by name of the method, metric by name; of several seeds as a rule their mean.
      higher_is_better: by name, whether a higher value of the metric is better.

    Raises:
      ValueError: if there is no method or no metric, a method has other metrics, or a metric is NaN, which has no rank.
    """
    if not methods or not higher_is_better or any(set(scores) != set(higher_is_better) for scores in methods.values()):
        got = {name: sorted(scores) for name, scores in methods.items()}
        raise ValueError(f"methods must each name the metrics of higher_is_better, {sorted(higher_is_better)}; got {got}.")
    signs = np.array([-1.0 if higher else 1.0 for higher in higher_is_better.values()])
    table = signs * np.array([[scores[name] for name in higher_is_better] for scores in methods.values()], np.float64)
    if unknown := [name for name, row in zip(methods, table, strict=True) if np.isnan(row).any()]:
        raise ValueError(f"methods must have a number for each metric; got NaN for {unknown}.")
    below, ties = (compare(table[None], table[:, None]).sum(axis=1) for compare in (np.less, np.equal))
    return dict(zip(methods, (below + (ties + 1) / 2).mean(axis=1).tolist(), strict=True))
