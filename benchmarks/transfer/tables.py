"""The tables of transfer, from the files that the benchmarks of this folder wrote."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy import RESULTS
from benchmarks.transfer.published import DIGITS, OFFICE_CALTECH


def transfer_tables() -> list[str]:
    """Makes a table for each benchmark that has results."""
    return [*digits_table(), *amazon_table(), *office_table(), *bearings_table(), *clusters_table(), *sources_table()]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], remark: str) -> str:
    """Makes a table with a remark below."""
    return "\n".join([f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)] + ["", remark])


def read(name: str) -> dict[str, Any]:
    """Reads a file of results; nothing where it is not there."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def shown(estimate: Mapping[str, float]) -> str:
    """Writes a mean and its interval in percent."""
    return f"{estimate['mean']:.1f} ± {estimate['half_width']:.1f}"


def league(name: str) -> dict[str, Any]:
    """Reads what there is of a league of domains, by method, source only first."""
    found = {
        result["method"]: result for path in RESULTS.glob(f"domains-{name}-*.json") for result in [json.loads(path.read_text())]
    }
    return dict(sorted(found.items(), key=lambda item: (item[0] != "source only", item[0])))


def digits_table() -> list[str]:
    """Makes the table of digits of two sets."""
    rows = []
    for method, result in league("digits").items():
        pairs = list(result["pairs"].values())
        label_free = [
            " / ".join(f"{pair[key]:.1f}" for pair in pairs) for key in ("chosen_by_source", "chosen_by_entropy", "oracle")
        ]
        minutes = f"{np.mean([pair['minutes'] for pair in pairs]):.1f}"
        chosen = " / ".join(shown(pair["accuracy"]) for pair in pairs)
        rows.append([method, chosen, *label_free, minutes, *DIGITS.get(method, ("", ""))])
    if not rows:
        return []
    head = ["MNIST to USPS / USPS to MNIST, accuracy %", "chosen by DEV", "by source", "by entropy", "oracle", "minutes"]
    remark = (
        "Whole training sets, LeNet; three seeds, 95 % intervals over them, choices with seed 0; published are those of "
        "SKADA-bench, whose network is another. Wanted: the best that is chosen without target labels at least "
        "96.0 / 88.0."
    )
    return [table([*head, "published, by DEV", "published, oracle"], rows, remark)]


def amazon_table() -> list[str]:
    """Makes the table of reviews of four kinds of products."""
    rows = []
    for method, result in league("amazon").items():
        pairs = result["pairs"]
        means = [np.mean([pair[key] for pair in pairs.values()]) for key in ("chosen_by_source", "chosen_by_entropy", "oracle")]
        mean = np.mean([pair["accuracy"]["mean"] for pair in pairs.values()])
        each = [f"{pair['accuracy']['mean']:.1f} ± {pair['accuracy']['half_width']:.1f}" for pair in pairs.values()]
        rows.append([method, *(f"{value:.1f}" for value in (mean, *means)), *each])
    if not rows:
        return []
    names = [name.replace(" to ", " → ") for name in next(iter(league("amazon").values()))["pairs"]]
    head = ["Amazon reviews, accuracy %, mean of 12 pairs", "chosen by DEV", "by source", "by entropy", "oracle", *names]
    remark = "400 words, one hidden layer of 100 units; three seeds, 95 % intervals over them, of the choice by DEV."
    return [table(head, rows, remark)]


def office_table() -> list[str]:
    """Makes the table of things in four collections of photographs."""
    found = read("office-caltech")
    if not found:
        return []
    rows = [
        [name, f"{result['accuracy']:.1f}", f"{result['oracle']:.1f}", OFFICE_CALTECH.get(name, ""), result["protocol"]]
        for name, result in found["methods"].items()
    ]
    head = ["Office-Caltech, accuracy %, mean of 12 pairs", "chosen on the source", "oracle", "published", "how"]
    remark = (
        "800 visual words (SURF), all examples of both domains, nothing random. Published by github.com/jindongwang/"
        "transferlearning; where two rows are of one method, the published one follows the row beside which it stands. "
        f"{found['minutes']:.1f} minutes."
    )
    return [table(head, rows, remark)]


def bearings_table() -> list[str]:
    """Makes the table of faults of bearings at another load."""
    found = read("bearings")
    if not found:
        return []
    rows = [
        [name, shown(result["accuracy"]), result["labels"], f"{result['minutes']:.2f}"] for name, result in found["methods"].items()
    ]
    remark = (
        f"15 faults, {found['settings']['test_windows']} windows of the second half of each recording; three seeds, 95 % "
        "intervals over them. Nothing was chosen."
    )
    return [table(["bearings (CWRU), load 0 to load 3, accuracy %", "found", "labels", "minutes"], rows, remark)]


def clusters_table() -> list[str]:
    """Makes the table of clusters of digits."""
    found = read("clusters")
    if not found:
        return []
    rows = [
        [name, *(shown(result[key]) for key in ("accuracy", "mutual_information"))] for name, result in found["methods"].items()
    ]
    remark = (
        f"{found['settings']['examples']:,} images, features of one autoencoder per seed; three seeds, 95 % intervals over them; "
        f"{found['minutes']:.0f} minutes in all. Wanted: DEC at least k-means."
    )
    head = ["clusters of MNIST without labels, %", "accuracy", "normalised mutual information"]
    return [table(head, rows, remark)]


def sources_table() -> list[str]:
    """Makes the table of what scores say of sources, and what these are good for."""
    found = read("sources")
    if not found:
        return []
    scores = list(found["kendall_tau"])
    rows = [
        [name, shown(source["accuracy"]), *(f"{source[score]:.3f}" for score in scores)]
        for name, source in found["sources"].items()
    ]
    rows.append(["Kendall's tau against the accuracy", "", *(f"{found['kendall_tau'][score]:.2f}" for score in scores)])
    remark = (
        f"LeNet pretrained on each source, then fine-tuned on {found['settings']['labelled']} digits of USPS; three seeds, 95 % "
        f"intervals over them; scores are of seed 0. {found['minutes']:.0f} minutes in all."
    )
    return [table(["pretrained on", "accuracy after fine-tuning, %", *scores], rows, remark)]
