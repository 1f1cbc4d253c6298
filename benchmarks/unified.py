"""Functions of several kinds, 5 examples each, by UMTL and by others: ``python -m benchmarks.unified [LEARNER ...] [--seeds N]``.

Every learner has the same network, training tasks, budget, optimiser and choice of step sizes: each step size is trained with seed
0, the one with the least validation error after 5 steps is trained with every seed and scored once, on the same 1,000 test tasks,
after 0 to 10 steps. A training whose loss was not finite is counted as diverged. Each learner writes
``benchmarks/results/unified-LEARNER.json``; one that has its file is left out.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression

import jmeta
from benchmarks.accuracy import RESULTS, origin
from jmeta._catalogue.networks import PerceptronOptions, perceptron
from jmeta.nn import MultilayerPerceptron

STEPS, TASKS, INNER_STEPS, EPISODES = 10_000, 25, 5, 1_000
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
# Of the step sizes, where not 1: five numbers move as fast as many weights do, and the authors' step size of CAVIA is 1.
FACTORS = {"cavia": 100}
LEARNING_RATE, CLIP_NORM, WIDTH = 1e-3, 10.0, 40
TRAIN = jmeta.multimodal(shots=5, queries=10)
TEST = jmeta.multimodal(shots=5, queries=100)


def network() -> jmeta.EncoderHead:
    return perceptron(PerceptronOptions((WIDTH, WIDTH)), 1)


def descending(learner: Callable[..., jmeta.Learner], *, whole: bool = True) -> Callable[[float], jmeta.Learner]:
    model = jmeta.compose(*network()) if whole else network()
    return lambda rate: learner(model, jmeta.squared_error, optax.sgd(rate), num_steps=INNER_STEPS)


def meta_sgd(rate: float) -> jmeta.Learner:
    return jmeta.meta_sgd(jmeta.compose(*network()), jmeta.squared_error, initial_rate=rate, num_steps=INNER_STEPS)


def cavia(rate: float) -> jmeta.Learner:
    optimizer = optax.sgd(FACTORS["cavia"] * rate)
    return jmeta.cavia(jmeta.compose(*network()), jmeta.squared_error, optimizer, num_steps=INNER_STEPS)


def learned_update_rule(rate: float) -> jmeta.Learner:
    rule = jmeta.from_linen(MultilayerPerceptron((16, 2)))
    options = {"inner_rate": rate, "num_steps": INNER_STEPS}
    return jmeta.learned_update_rule(jmeta.compose(*network()), jmeta.squared_error, rule, **options)


def learned_objective(rate: float) -> jmeta.Learner:
    objective = jmeta.from_linen(MultilayerPerceptron((40, 40, 1)))
    parts = jmeta.compose(*network()), jmeta.squared_error, objective, optax.sgd(rate)
    return jmeta.learned_objective(*parts, num_steps=INNER_STEPS)


def unified(reconstruction: float = 0.1, **options: Any) -> Callable[[float], jmeta.Learner]:
    def build(rate: float) -> jmeta.Learner:
        strategies = jmeta.attention_meta_learner(inner_rate=rate, **options)
        return conditioned(strategies, reconstruction)

    return build


def conditioned(strategies: jmeta.MetaLearner, reconstruction: float) -> jmeta.Learner:
    encoder, model = jmeta.attention_task_encoder(width=32), jmeta.compose(*network())
    parts = (model, jmeta.squared_error, encoder, strategies)
    return jmeta.unified_learner(*parts, num_steps=INNER_STEPS, reconstruction=reconstruction)


LEARNERS: dict[str, Callable[[float], jmeta.Learner]] = {
    "maml": descending(jmeta.maml),
    "meta_sgd": meta_sgd,
    "boil": descending(jmeta.boil, whole=False),
    "cavia": cavia,
    "learned_update_rule": learned_update_rule,
    "learned_objective": learned_objective,
    "film": lambda rate: conditioned(jmeta.modulating_meta_learner(inner_rate=rate), 0.1),
    "unified": unified(),
    "unified without reconstruction": unified(0.0),
    "unified without attention": unified(attention=False),
    "unified, initial weights alone": unified(update_rules=False),
    "unified, rules alone": unified(initial_weights=False),
}


def train(learner: jmeta.Learner, seed: int) -> tuple[Any, float]:
    """Gives the trained parameters, and the minutes that it took; None where the loss was not finite."""
    init_key, key = jax.random.split(jax.random.key(seed))
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, STEPS)
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(schedule))
    params = learner.init(init_key, TRAIN.sample(TRAIN.data, init_key))
    step, start = jmeta.make_step(jmeta.over_tasks(learner.loss), optimizer), time.monotonic()
    state = jmeta.init_state(params, optimizer, key)
    try:
        fitted = jmeta.fit(step, state, jmeta.batch_tasks(TRAIN, TASKS), num_steps=STEPS, steps_per_chunk=1_000, progress=False)
    except FloatingPointError:
        return None, (time.monotonic() - start) / 60
    return fitted.state.params, (time.monotonic() - start) / 60


def errors(learner: jmeta.Learner, params: Any, seed: int) -> np.ndarray:
    """Scores each of the episodes of a seed after 0 to 10 steps, ``[episodes, 11]``."""
    options = {"num_steps": 10, "episodes": EPISODES, "seed": seed, "batch_size": 100}
    return np.asarray(jmeta.evaluate(learner, params, TEST, metric=jmeta.squared_error, **options).values)


def modes_told(params: Any) -> float:
    """Trains a linear probe of the mode on embeddings of 2,000 new tasks, and gives its accuracy on as many others."""
    encoder = jmeta.attention_task_encoder(width=32)
    outputs = np.zeros((5, 1), np.float32)

    def embedded(mode: str, key: jax.Array) -> jax.Array:
        one = jmeta.multimodal(shots=5, queries=1, modes=[mode])
        tasks = jmeta.batch_tasks(one, 1_000).sample(one.data, key).support
        return jax.jit(jax.vmap(lambda support: jmeta.task_embedding(encoder, params, support, outputs)))(tasks)

    modes = ("absolute", "line", "parabola", "sinusoid")
    vectors = np.stack([embedded(mode, jax.random.key(100 + at)) for at, mode in enumerate(modes)])
    labels = np.repeat(np.arange(len(modes)), 500)
    fitted, held = vectors[:, :500].reshape(2_000, -1), vectors[:, 500:].reshape(2_000, -1)
    return float(LogisticRegression(max_iter=2_000).fit(fitted, labels).score(held, labels))


def run(name: str, seeds: int) -> dict[str, Any]:
    """Chooses a step size, trains with every seed, scores, and puts together what the result file holds."""
    validated, trained = {}, {}
    for rate in RATES:
        learner = LEARNERS[name](rate)
        params, minutes = trained[rate] = train(learner, 0)
        validated[rate] = float("inf") if params is None else float(errors(learner, params, 1)[:, INNER_STEPS].mean())
        print(f"{name} {rate}: {validated[rate]:.3f} after {minutes:.1f} minutes", flush=True)
    rate = min(validated, key=lambda rate: validated[rate] if np.isfinite(validated[rate]) else np.inf)
    learner, runs = LEARNERS[name](rate), [trained[rate]]
    if trained[rate][0] is not None:
        runs += [train(learner, seed) for seed in range(1, seeds)]
    runs = [(params, minutes) for params, minutes in runs if params is not None]
    settings = {
        **{"inner_rate": rate, "steps": STEPS, "tasks": TASKS, "inner_steps": INNER_STEPS, "episodes": EPISODES},
        **{"learning_rate": LEARNING_RATE, "schedule": "cosine", "clip_norm": CLIP_NORM, "network": [WIDTH, WIDTH, 1]},
        **{"seeds": seeds, "rates": RATES, "shots": 5},
    }
    result = {
        "learner": name,
        "diverged": seeds - len(runs),
        "validated": {str(rate): value if np.isfinite(value) else None for rate, value in validated.items()},
        "settings": settings,
    } | origin()
    if not runs:
        return result
    values = np.stack([errors(learner, params, 0) for params, _ in runs])
    told = [modes_told(params) for params, _ in runs] if name.startswith("unified") else []
    return result | {
        "after_steps": {str(steps): jmeta.estimate(values[:, :, steps].mean(axis=0))._asdict() for steps in (0, 1, 5, 10)},
        "of_seeds": {str(steps): values[:, :, steps].mean(axis=1).tolist() for steps in (0, 1, 5, 10)},
        "episodes_after_5_steps": np.round(values[:, :, 5].mean(axis=0), 5).tolist(),
        "modes_told": told,
        "training_minutes": [minutes for _, minutes in runs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("learners", nargs="*", metavar="LEARNER", help=f"all by default: {', '.join(LEARNERS)}")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    options = parser.parse_args()
    if unknown := sorted(set(options.learners) - set(LEARNERS)):
        sys.exit(f"expected learners among {', '.join(LEARNERS)}; got {unknown[0]}.")
    RESULTS.mkdir(exist_ok=True)
    for name in options.learners or LEARNERS:
        path = RESULTS / f"unified-{name.replace(',', '').replace(' ', '-')}.json"
        if not path.exists():
            path.write_text(json.dumps(run(name, options.seeds), indent=1) + "\n")


if __name__ == "__main__":
    main()
