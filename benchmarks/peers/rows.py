"""The rows of ``benchmarks/results/peers-DEVICE.json``: from times in turn to medians and ratios."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REQUIRED = ("work", "peer", "ours_ms", "peer_ms", "ratio", "ratio_min", "ratio_max")


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Divides the peer's time of each round by ours of the same round: above 1, ours is faster.

    Raises:
      ValueError: if there is no round, or the two have different numbers of rounds.
    """
    if not ours or len(ours) != len(peer):
        raise ValueError(f"every round must time both; got {len(ours)} and {len(peer)} times.")
    return [theirs / own for own, theirs in zip(ours, peer, strict=True)]


def make_row(work: str, peer: str, ours: Sequence[float], variants: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Summarises milliseconds per round; the peer is judged by its variant with the lowest median.

    Args:
      work: the name of the work.
      peer: the name of the peer.
      ours: our time of each round.
      variants: by name, such as ``"2 threads"``, the peer's time of each round.
    """
    medians = {name: statistics.median(times) for name, times in variants.items()}
    best = min(medians, key=medians.__getitem__)
    per_round = ratios(ours, variants[best])
    return {
        "work": work,
        "peer": peer,
        "ours_ms": statistics.median(ours),
        "peer_ms": medians[best],
        "ratio": statistics.median(per_round),
        "ratio_min": min(per_round),
        "ratio_max": max(per_round),
        "rounds": len(per_round),
        "variant": best,
        "variants_ms": medians,
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a results file.

    Raises:
      ValueError: if the file is not a list of rows that :func:`make_row` could have made.
    """
    rows = json.loads(path.read_text())
    if not isinstance(rows, list):
        raise ValueError(f"{path.name} must be a list of rows; got {type(rows).__name__}.")
    for row in rows:
        check_row(row)
    return rows


def check_row(row: Mapping[str, Any]) -> None:
    """Refuses a row without a required key, or with numbers that contradict each other."""
    if missing := [name for name in REQUIRED if name not in row]:
        raise ValueError(f"a row must have {', '.join(REQUIRED)}; got one without {', '.join(missing)}.")
    if not 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"] or min(row["ours_ms"], row["peer_ms"]) <= 0:
        raise ValueError(f"times must be positive and ratio_min <= ratio <= ratio_max; got {dict(row)}.")


def replace_rows(path: Path, works: Sequence[str], rows: Sequence[dict[str, Any]], order: Sequence[str]) -> None:
    """Puts the rows of ``works`` in the place of those in the file, all in the order of the works."""
    kept = [row for row in read_rows(path) if row["work"] not in works] if path.exists() else []
    places = {work: place for place, work in enumerate(order)}
    merged = sorted([*kept, *rows], key=lambda row: places.get(row["work"], len(places)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(merged, indent=1) + "\n")
    partial.replace(path)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats rows for a terminal."""
    lines = [f"{'work':18} {'peer':20} {'ours, ms':>10} {'peer, ms':>10} {'ratio':>7}  range"]
    for row in rows:
        spread = f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
        times = f"{row['ours_ms']:10.2f} {row['peer_ms']:10.2f} {row['ratio']:7.2f}"
        lines.append(f"{row['work']:18} {row['peer']:20} {times}  {spread}, {row.get('variant', '')}")
    return "\n".join(lines)
