"""From the options of a run on two domains to its parts."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jmeta._catalogue.config import check_ranges
from jmeta._catalogue.optimizers import outer_optimizer
from jmeta._catalogue.options import Config
from jmeta._catalogue.rows import Course, Domains
from jmeta._catalogue.tables import ALIGNMENTS, DOMAIN_PAIRS, check_solves
from jmeta._steps import TrainState, init_state, make_step
from jmeta._types import Batch, Params, Sampler
from jmeta.metrics import accuracy
from jmeta.predictions import Predictions, predict_batch
from jmeta.sweeping import Trial
from jmeta.tasks._batching import combine
from jmeta.tasks._groups import as_floats, minibatches
from jmeta.transfer import DomainAdaptation, domain_adaptation, label_free_scores

# Which examples are judged is no option: they are what a run is chosen by.
JUDGED_SEED = 0


class DomainRecipe(NamedTuple):
    """The parts of a run on two domains.

    Attributes:
      model: as it is trained and tested.
      domains: the examples.
      course: how it is trained.
    """

    model: DomainAdaptation
    domains: Domains
    course: Course


def adapted_model(config: Config) -> DomainAdaptation:
    """Builds the model; no data is read.

    Raises:
      ValueError: if an option is out of its range, or the method does not do what is asked.
    """
    check_ranges(config)
    check_solves(config.method_name, DOMAIN_PAIRS[config.problem_name].kinds, config.problem_name)
    setting = DOMAIN_PAIRS[config.problem_name].setting(config)
    alignment = ALIGNMENTS[config.method_name].build(config.method, setting)
    return domain_adaptation(*setting.network, optax.softmax_cross_entropy_with_integer_labels, alignment)


@functools.cache
def build_domains(config: Config) -> DomainRecipe:
    """Makes the parts of a run, once: jax compiles the functions of a second recipe anew.

    Raises:
      ValueError: if an option is out of its range.
      FileNotFoundError: if the data is not there.
    """
    model = adapted_model(config)
    domains = DOMAIN_PAIRS[config.problem_name].domains(config)
    trial = domain_trial(config, domains, model)
    course = Course(trial.init(jax.random.key(config.training.seed)), trial.step, _batches(config, domains), trial.validation)
    return DomainRecipe(model, domains, course)


def domain_trial(config: Config, domains: Domains, model: DomainAdaptation | None = None) -> Trial:
    """Says how a run is trained on examples that have been read."""
    model = adapted_model(config) if model is None else model
    step = make_step(model.objective, outer_optimizer(config))
    initial = functools.partial(_initial, config, model)
    return Trial(step, initial, label_free_validator(config, model, domains), on_host=True)


def initial_domain_state(config: Config) -> TrainState:
    """Makes the state that training starts from; no data is read."""
    return _initial(config, adapted_model(config), jax.random.key(config.training.seed))


def label_free_validator(config: Config, model: DomainAdaptation, domains: Domains) -> Callable[[Params], Mapping[str, Any]]:
    """Builds the validation of a run: its loss is what may choose a step; the accuracy in the target chooses nothing."""
    training, size = config.training, config.evaluation.evaluation_batch
    judged = {
        "source": _some(domains.source, training.judged),
        "validation": as_floats(domains.validation),
        "target": _some(domains.target, training.judged),
    }

    def validate(params: Params) -> dict[str, float]:
        scores = label_free_scores(model, params, judged, batch_size=size)._asdict()
        parts = {"source": domains.validation, "target": domains.test}
        right = {f"{name}_accuracy": _share(predict(config, model, params, batch)) for name, batch in parts.items()}
        return {"loss": scores[training.choose_by], **scores, **right}

    return validate


def predict(config: Config, model: DomainAdaptation, params: Params, batch: Batch) -> Predictions:
    """Predicts examples of either domain."""
    return predict_batch(model.predict, params, as_floats(batch), batch_size=config.evaluation.evaluation_batch)


def _share(predictions: Predictions) -> float:
    return float(np.mean(accuracy(predictions.outputs, predictions.targets)))


def _some(batch: Batch, most: int) -> Batch:
    """Draws examples where there are more than so many."""
    rows = np.random.default_rng(JUDGED_SEED).permutation(len(batch.x))[:most]
    return as_floats(jax.tree.map(lambda leaf: leaf[rows], batch))


def _batches(config: Config, domains: Domains) -> Sampler:
    size = config.tasks.examples
    sides = {"source": domains.source, "target": domains.target}
    return combine({name: minibatches(batch.x, batch.y, size) for name, batch in sides.items()})


def _initial(config: Config, model: DomainAdaptation, key: jax.Array) -> TrainState:
    @jax.jit
    def initial(key: jax.Array, example: Mapping[str, Batch]) -> TrainState:
        init_key, training_key = jax.random.split(key)
        return init_state(model.init(init_key, example), outer_optimizer(config), training_key)

    return initial(key, DOMAIN_PAIRS[config.problem_name].example(config))
