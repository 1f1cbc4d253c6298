"""What a run on two domains says of itself, as lines of text."""

from jmeta._catalogue.domain_results import ORACLE, SCORES, DomainTested
from jmeta._cli.report import aligned, cell, number

METRIC = "accuracy"


def domain_table(tested: DomainTested) -> str:
    """Writes the scores of a run in both domains, and what other choices of the step would have scored."""
    config, (source, target) = tested.config, tested.names
    by = config.training.choose_by
    step = f", step {tested.choices[by].step:,}" if by in tested.choices else ""
    rows = [
        [METRIC, target, f"{source}, held out"],
        [f"{config.method_name}{step}, chosen by {SCORES[by]}", cell(tested.target, METRIC), cell(tested.source, METRIC)],
    ]
    for name, choice in tested.choices.items():
        if name != by:
            words = "an oracle, which sees the target's labels" if name == ORACLE else SCORES[name]
            accuracies = (number(one, METRIC) for one in (choice.target, choice.source))
            rows.append([f"  step {choice.step:,}, that of {words}", *accuracies])
    rows.append(["the most frequent class", number(tested.constant, METRIC), ""])
    seen = "trained on without their labels" if tested.transductive else "not trained on"
    return f"{aligned(rows)}\n\n{config.method_name}: {tested.examples:,} examples of {target}, {seen}."
