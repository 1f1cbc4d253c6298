"""What a user is told: one sentence that names the argument, what was got and what was expected."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jmeta
from jmeta import Batch, Episode

KEY = jax.random.key(0)
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


@dataclasses.dataclass(frozen=True)
class Case:
    """A misuse; the message must contain the argument, what was got and what was expected."""

    call: Callable[[], Any]
    argument: str
    got: str
    expected: str
    kind: type[Exception] = ValueError


def linear(outputs: int = 3) -> jmeta.Model:
    return jmeta.from_linen(jmeta.nn.MultilayerPerceptron((outputs,)))


def classify(**changes: Any) -> Episode:
    """A task of 3 classes with 2 features, one part changed: ``x``, ``y``, ``mask`` and ``weights`` of the support."""
    x, y = jnp.ones((3, 2)), jnp.arange(3)
    return Episode(Batch(x, y)._replace(**changes), Batch(x, y), jnp.ones(3, bool))


def init(learner: jmeta.Learner, episode: Episode) -> Any:
    return learner.init(KEY, episode)


def maml(**changes: Any) -> jmeta.Learner:
    options = {"model": linear(), "loss_fn": CROSS_ENTROPY, "inner_optimizer": optax.sgd(0.1)} | changes
    return jmeta.maml(**options)


def loss_of(learner: jmeta.Learner, episode: Episode) -> Any:
    """The loss of an episode as it is traced, with parameters from a sound one."""
    params = learner.init(KEY, classify())
    return jax.eval_shape(learner.loss, params, KEY, episode)


def arrays(x: Any = None, y: Any = None, **options: Any) -> jmeta.Sampler:
    x = np.zeros((12, 2)) if x is None else x
    y = np.arange(12) % 3 if y is None else y
    return jmeta.from_arrays(x, y, **({"ways": 3, "shots": 1, "queries": 2} | options))


def wrong_image_size() -> Any:
    model = jmeta.from_linen(jmeta.nn.ConvolutionalEncoder((2, 2)))
    learner, classes = jmeta.prototypical_networks(model), jnp.ones(3, bool)
    images = lambda size: Batch(jnp.ones((3, size, size, 3 if size == 8 else 1)), jnp.arange(3))  # noqa: E731
    params = learner.init(KEY, Episode(images(4), images(4), classes))
    return jax.eval_shape(learner.loss, params, KEY, Episode(images(8), images(8), classes))


def wrong_image_size_of_a_dense_layer() -> Any:
    model = linear()
    return model.apply(model.init(KEY, jnp.ones((1, 28, 28, 1))), jnp.ones((5, 32, 32, 1)))


def not_dividing() -> Any:
    step = jmeta.make_step(jmeta.over_tasks(maml().loss), optax.sgd(0.1), micro_batch=3)
    tasks = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), classify())
    state = jmeta.init_state(maml().init(KEY, classify()), optax.sgd(0.1), KEY)
    return jax.eval_shape(step, state, tasks)


def broadcasting(loss_fn: Any) -> Any:
    """Outputs [3, 1] and targets [3]."""
    episode = Episode(*[Batch(jnp.ones((3, 2)), jnp.ones(3))] * 2)
    learner = jmeta.maml(linear(1), loss_fn, optax.sgd(0.1))
    return jax.eval_shape(learner.loss, learner.init(KEY, episode), KEY, episode)


def evaluated_with_wrong_labels() -> Any:
    sampler = arrays(y=np.arange(12) % 4, ways=4)
    learner = maml()
    return jmeta.evaluate(learner, learner.init(KEY, classify()), sampler, metric=jmeta.accuracy, episodes=2)


def evaluated_with_nan() -> Any:
    sampler = jmeta.Sampler((), lambda data, key: classify(x=jnp.full((3, 2), jnp.nan)))
    learner = jmeta.prototypical_networks(linear())
    return jmeta.evaluate(learner, learner.init(KEY, classify()), sampler, metric=jmeta.accuracy, episodes=2)


class BatchNormed(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(2, rngs=rngs)

    def __call__(self, x):
        return self.norm(x)


def mixing_module() -> Any:
    model = jmeta.from_linen(linen.Dense(3), mixes_rows=True)
    return loss_of(maml(model=model), jmeta.pad_episode(classify(), support=4, query=4))


CASES = {
    "image size, channels": Case(wrong_image_size, "x must", "(3, 8, 8, 3)", "initialised for"),
    "image size, features": Case(wrong_image_size_of_a_dense_layer, "x must", "(5, 32, 32, 1)", "initialised for"),
    "labels >= ways, prototypes": Case(
        lambda: init(jmeta.prototypical_networks(linear()), classify()._replace(classes=jnp.ones(2, bool))),
        "support.y",
        "got label 2",
        "labels 0, ..., 1",
    ),
    "labels >= outputs, MAML": Case(
        lambda: init(maml(model=linear(2)), classify()), "support.y", "got label 2", "labels 0, ..., 1"
    ),
    "labels >= outputs, ANIL": Case(
        lambda: init(jmeta.anil(jmeta.EncoderHead(linear(4), linear(2)), CROSS_ENTROPY, optax.sgd(0.1)), classify()),
        "support.y",
        "got label 2",
        "labels 0, ..., 1",
    ),
    "labels >= outputs, Reptile": Case(
        lambda: init(jmeta.reptile(linear(2), CROSS_ENTROPY, optax.sgd(0.1)), classify()),
        "support.y",
        "got label 2",
        "labels 0, ..., 1",
    ),
    "ways > outputs, evaluation": Case(
        evaluated_with_wrong_labels,
        "classes must",
        "got classes of shape (4,) for outputs (4, 3)",
        "mark each of the model's outputs",
    ),
    "negative label": Case(
        lambda: init(maml(), classify(y=jnp.array([0, -1, 1]))), "support.y", "got label -1", "labels 0, ..., 2"
    ),
    "float labels, arrays": Case(lambda: arrays(y=np.zeros(12)), "y must", "got dtype float64", "integer labels"),
    "float labels, prototypes": Case(
        lambda: init(jmeta.prototypical_networks(linear()), classify(y=jnp.zeros(3))),
        "support.y",
        "got float32[3]",
        "integer labels",
    ),
    "float labels, loss": Case(lambda: loss_of(maml(), classify(y=jnp.zeros(3))), "loss_fn must", "targets float32[3]", "integer"),
    "float labels, metric": Case(
        lambda: jmeta.accuracy(jnp.ones((3, 2)), jnp.ones(3)), "targets must", "got dtype float32", "integer"
    ),
    "NaN, arrays": Case(lambda: arrays(x=np.full((12, 2), np.nan)), "x must", "got 24 values that are NaN", "finite"),
    "NaN, task": Case(
        lambda: init(maml(), classify(x=jnp.ones((3, 2)).at[1, 0].set(jnp.nan))), "support.x", "got 1 values", "must be finite"
    ),
    "NaN, evaluation": Case(evaluated_with_nan, "support.x", "got 6 values", "must be finite"),
    "empty support": Case(
        lambda: init(maml(), classify(x=jnp.ones((0, 2)), y=jnp.ones(0, int))), "support must", "got none", "at least one example"
    ),
    "no rows": Case(lambda: init(maml(), classify(x=jnp.float32(1), y=jnp.int32(1))), "support must", "got none", "one example"),
    "empty support, traced": Case(
        lambda: loss_of(jmeta.prototypical_networks(linear()), classify(x=jnp.ones((0, 2)), y=jnp.ones(0, int))),
        "support must",
        "got none",
        "at least one example",
    ),
    "rows that do not match": Case(
        lambda: loss_of(maml(), classify(y=jnp.zeros(4, int))),
        "support.x and support.y",
        "got (3, 2) and (4,)",
        "one row per example",
    ),
    "mask of another length": Case(
        lambda: loss_of(maml(), classify(mask=jnp.ones(4, bool))), "support.mask", "got (4,) for 3 rows", "one entry per row"
    ),
    "classes of another length": Case(
        lambda: loss_of(maml(), classify()._replace(classes=jnp.ones(4, bool))),
        "classes must",
        "got classes of shape (4,)",
        "outputs",
    ),
    "mask for a module that mixes rows": Case(mixing_module, "model Dense", "takes no mask", "expected a batch without a mask"),
    "ways > classes": Case(lambda: arrays(ways=4), "ways must", "got ways=4 and 3 classes", "at most"),
    "shots + queries > examples": Case(
        lambda: arrays(shots=3), "shots + queries must", "got 3 + 2 and class 0 with 4", "at most the examples of every class"
    ),
    "no shots": Case(lambda: arrays(shots=0), "shots must", "got 0", "at least 1"),
    "unknown Hessian product": Case(
        lambda: jmeta.unrolled(hessian_product="forward"),
        "hessian_product",
        "got 'forward'",
        "one of reverse, mixed, finite_difference",
    ),
    "unknown normalisation": Case(
        lambda: jmeta.nn.ConvolutionalEncoder(normalization="layer"), "normalization", "got 'layer'", "one of group, batch, none"
    ),
    "unknown weight of a mixture": Case(
        lambda: jmeta.mixture({"a": maml().loss}, {"b": 1.0}), "weights must", "got ['b']", "among ['a']"
    ),
    "unknown split": Case(lambda: jmeta.omniglot(None, "val"), "split must", "got 'val'", "one of train, validation, test"),
    "split that is no string": Case(lambda: jmeta.omniglot(None, 1), "split must", "got 1", "one of train, validation, test"),
    "missing data": Case(
        lambda: jmeta.omniglot("/nowhere", "train"),
        "path",
        "no Omniglot data in /nowhere",
        "put images_background.zip",
        FileNotFoundError,
    ),
    "unsafe inner optimiser": Case(
        lambda: init(maml(inner_optimizer=optax.adam(0.1)), classify()),
        "inner_optimizer",
        "no finite derivative",
        "expected a differentiable one",
    ),
    "hidden state, linen": Case(
        lambda: init(maml(model=jmeta.from_linen(linen.BatchNorm(use_running_average=False))), classify()),
        "module BatchNorm",
        "got hidden state (batch_stats)",
        "parameters only",
    ),
    "hidden state, nnx": Case(
        lambda: jmeta.from_nnx(BatchNormed), "constructor", "got hidden state (BatchStat)", "parameters only"
    ),
    "micro-batch that does not divide": Case(not_dividing, "micro_batch must", "got micro_batch=3 and 4 tasks", "divide"),
    "micro-batch without tasks": Case(
        lambda: jmeta.value_and_gradient(maml().loss, micro_batch=2), "micro_batch=2", "needs", "an objective with a task axis"
    ),
    "loss that averages rows": Case(
        lambda: loss_of(maml(loss_fn=lambda outputs, y: CROSS_ENTROPY(outputs, y).mean()), classify()),
        "loss_fn must",
        "got () from",
        "one row per example",
    ),
    "squared error that broadcasts": Case(
        lambda: broadcasting(jmeta.squared_error), "loss_fn must", "got (3, 1) and (3,)", "must have one shape"
    ),
    "a loss that broadcasts to pairs": Case(
        lambda: broadcasting(lambda outputs, y: jnp.square(outputs - y.reshape(1, -1))),
        "loss_fn must",
        "got (3, 3) from outputs (3, 1) and targets (3,)",
        "one row per example",
    ),
    "a label map of another size": Case(
        lambda: jmeta.score(optax.sigmoid_binary_cross_entropy, jnp.zeros((2, 7, 7)), jmeta.Batch(0, jnp.zeros((2, 1, 1)))),
        "loss_fn must",
        "got (2, 7, 7) from outputs (2, 7, 7) and targets (2, 1, 1)",
        "one row per example",
    ),
    "negative steps": Case(lambda: maml(num_steps=-1), "num_steps must", "got -1", "at least 0"),
    "one step and a half": Case(lambda: maml(num_steps=1.5), "num_steps must", "got 1.5", "a whole number"),
    "half a row": Case(
        lambda: jmeta.reptile(linear(), CROSS_ENTROPY, optax.sgd(0.1), batch_size=0.5),
        "batch_size must",
        "got 0.5",
        "a whole number",
    ),
    "half a task at once": Case(
        lambda: jmeta.value_and_gradient(jmeta.over_tasks(maml().loss), micro_batch=1.5),
        "micro_batch must",
        "got 1.5",
        "a whole number",
    ),
    "half a step of a solver": Case(
        lambda: jmeta.implicit(proximal_strength=1.0, solver_steps=2.5), "solver_steps must", "got 2.5", "a whole number"
    ),
    "half an episode": Case(
        lambda: jmeta.evaluate(maml(), (), arrays(), metric=jmeta.accuracy, episodes=2.5),
        "episodes must",
        "got 2.5",
        "a whole number",
    ),
    "half a training step": Case(
        lambda: jmeta.fit(None, None, arrays(), num_steps=2.5), "num_steps must", "got 2.5", "a whole number"
    ),
    "a batch of tasks to start from": Case(
        lambda: init(maml(), jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), classify())),
        "episode must",
        "got a batch of 2 tasks",
        "one task",
    ),
    "a batch of tasks to learn from": Case(
        lambda: loss_of(maml(), jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), classify())),
        "episode must",
        "got a batch of 2 tasks",
        "jmeta.over_tasks",
    ),
    "an integer mask": Case(
        lambda: loss_of(maml(), classify(mask=jnp.ones(3, int))), "support.mask must", "got int32", "booleans, in an array"
    ),
    "a mask of numbers": Case(lambda: init(maml(), classify(mask=jnp.ones(3))), "support.mask must", "got float32", "for weights"),
    "negative weights": Case(
        lambda: init(maml(), classify(weights=jnp.array([1.0, -1.0, 1.0]))), "support.weights must", "got -1.0", "at least 0"
    ),
    "weights of other rows": Case(
        lambda: loss_of(maml(), classify(weights=jnp.ones(4))), "support.weights must", "got (4,) for 3 rows", "one row per example"
    ),
    "weights of entries for classes": Case(
        lambda: loss_of(jmeta.prototypical_networks(linear()), classify(weights=jnp.ones((3, 1)))),
        "weights must",
        "got (3, 1)",
        "one per row",
    ),
    "no classes for prototypes": Case(
        lambda: init(jmeta.prototypical_networks(linear()), classify()._replace(classes=None)), "classes must", "got None", "[ways]"
    ),
    "a class without support": Case(
        lambda: init(jmeta.prototypical_networks(linear()), classify(y=jnp.array([0, 0, 1]))),
        "support must",
        "got none of 2",
        "an example of every class",
    ),
    "a label of a class that is not there": Case(
        lambda: init(maml(), classify()._replace(classes=jnp.array([True, True, False]))),
        "support.y must",
        "got label 2",
        "real classes, [0, 1]",
    ),
    "no input": Case(lambda: init(maml(), classify(x=None)), "support.x must", "got None", "arrays"),
    "a list for an input": Case(lambda: init(maml(), classify(x=[[1.0, 2.0]] * 3)), "support.x must", "got float", "arrays"),
    "no episode": Case(lambda: init(maml(), (Batch(1, 2), Batch(1, 2))), "episode must", "got tuple", "Episode(support, query)"),
    "tasks without a common axis": Case(
        lambda: jmeta.over_tasks(maml().loss)({}, KEY, {"a": jnp.ones(2), "b": jnp.ones(3)}),
        "data must",
        "got shapes [(2,), (3,)]",
        "axis",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_misuse_is_answered_in_one_sentence(case):
    with pytest.raises(case.kind) as error:
        case.call()
    text = str(error.value)
    assert type(error.value) is case.kind
    assert "\n" not in text
    assert len(text) < 400
    for part in (case.argument, case.got, case.expected):
        assert part in text


def test_a_sound_task_is_accepted():
    for learner in (maml(), jmeta.prototypical_networks(linear()), jmeta.reptile(linear(), CROSS_ENTROPY, optax.sgd(0.1))):
        value, _ = jax.eval_shape(learner.loss, learner.init(KEY, classify()), KEY, classify(mask=jnp.array([True, True, False])))
        assert value.shape == ()
    # What a mask hides may be anything.
    hidden = classify(x=jnp.full((3, 2), jnp.nan), y=jnp.full(3, 9), mask=jnp.zeros(3, bool))
    jmeta.check_episode(hidden, ways=3)
