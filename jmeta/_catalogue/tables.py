"""The one table of names: methods, problems, and the settings they start from."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping

from jmeta._catalogue import (
    alignments,
    arrays,
    domain_pairs,
    glyphs,
    metric_based,
    multi_glyphs,
    omniglot,
    optimization_based,
    pictures,
    pretraining,
    sharing,
    sinusoid,
    tabular,
)
from jmeta._catalogue.options import (
    Config,
    DomainEvaluationOptions,
    DomainTrainingOptions,
    EvaluationOptions,
    MultitaskEvaluationOptions,
    MultitaskTrainingOptions,
    TrainingOptions,
    with_values,
)
from jmeta._catalogue.rows import DomainMethod, DomainProblem, Method, MultitaskMethod, MultitaskProblem, Problem

AnyMethod = Method | MultitaskMethod | DomainMethod
AnyProblem = Problem | MultitaskProblem | DomainProblem

SHARING: Mapping[str, MultitaskMethod] = sharing.METHODS
ALIGNMENTS: Mapping[str, DomainMethod] = alignments.METHODS
FAMILIES: Mapping[str, Mapping[str, AnyMethod]] = {
    "optimisation-based": optimization_based.METHODS,
    "metric-based": metric_based.METHODS,
    "baselines": pretraining.METHODS,
    "multi-task": SHARING,
    "domain adaptation": ALIGNMENTS,
}
LEARNERS: Mapping[str, Method] = {**optimization_based.METHODS, **metric_based.METHODS, **pretraining.METHODS}
METHODS: Mapping[str, AnyMethod] = {**LEARNERS, **SHARING, **ALIGNMENTS}
FEW_SHOT_PROBLEMS: Mapping[str, Problem] = {
    "sinusoid": sinusoid.PROBLEM,
    "glyphs": glyphs.PROBLEM,
    "omniglot": omniglot.PROBLEM,
    "arrays": arrays.PROBLEM,
}
MULTITASK_PROBLEMS: Mapping[str, MultitaskProblem] = {
    "multi_glyphs": multi_glyphs.PROBLEM,
    **pictures.PROBLEMS,
    **tabular.PROBLEMS,
}
DOMAIN_PAIRS: Mapping[str, DomainProblem] = domain_pairs.PROBLEMS
PROBLEMS: Mapping[str, AnyProblem] = {**FEW_SHOT_PROBLEMS, **MULTITASK_PROBLEMS, **DOMAIN_PAIRS}


def default_config(method_name: str, problem_name: str) -> Config:
    """Gives the options that reproduce a paper's setting, or come as near as is known.

    Raises:
      ValueError: if a name is unknown or the method does not solve the problem.
    """
    method, problem = METHODS[known("method", method_name, METHODS)], PROBLEMS[known("problem", problem_name, PROBLEMS)]
    check_solves(method_name, problem.kinds, problem_name)
    tasks, test, network = (part() for part in problem.options)
    training, evaluation = TrainingOptions(), EvaluationOptions()
    if problem_name in MULTITASK_PROBLEMS:
        training, evaluation = MultitaskTrainingOptions(), MultitaskEvaluationOptions()
    elif problem_name in DOMAIN_PAIRS:
        training, evaluation = DomainTrainingOptions(), DomainEvaluationOptions()
    parts = (method.options(), tasks, test, network, training, evaluation)
    config = Config(method_name, problem_name, *parts, data=problem.data())
    preset = {**problem.preset, **method.preset, **method.presets.get(problem_name, {})}
    return dataclasses.replace(with_values(config, **preset), baseline=(method_name, problem_name) == ("maml", "sinusoid"))


def check_solves(method_name: str, kinds: Iterable[str], problem: str) -> None:
    """Checks that a method solves a problem of one of some kinds.

    Raises:
      ValueError: saying what either of them is.
    """
    if not METHODS[method_name].solves & set(kinds):
        solved = " and ".join(sorted(METHODS[method_name].solves))
        raise ValueError(f"{method_name} solves {solved}; {problem} is {' or '.join(sorted(kinds))}.")


def is_multitask(config: Config) -> bool:
    """Says whether a run is of several tasks at once, and not of few-shot tasks."""
    return config.problem_name in MULTITASK_PROBLEMS


def is_domain_pair(config: Config) -> bool:
    """Says whether a run is of two domains."""
    return config.problem_name in DOMAIN_PAIRS


def solves(method_name: str, problem_name: str) -> bool:
    """Says whether a method may solve a problem."""
    return bool(METHODS[method_name].solves & PROBLEMS[problem_name].kinds)


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """Gives back a name that there is.

    Raises:
      ValueError: with the nearest name that there is.
    """
    if name in (names := list(names)):
        return name
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else []
    question = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise ValueError(f"no {kind} named {name!r}{question} There are: {', '.join(names)}.")
