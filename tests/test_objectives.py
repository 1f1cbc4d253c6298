"""From one task to many: means, mixtures, separate tasks, micro-batches, and ragged tasks."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jmeta
from jmeta.nn import BatchStatistics

KEY = jax.random.key(0)
# Rounding, in sums of a few dozen terms.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}


def noisy(params, key, data, *, step=0):
    """One task's objective, random and nonlinear."""
    noise = jax.random.normal(key, data.shape, data.dtype)
    value = jnp.square(jnp.sin(params["w"] * data) + 0.1 * noise).sum() * (1 + 0.1 * step)
    return value, {"loss": value, "first": noise[0]}


def quiet(params, key, data, *, step=0):
    del key, step
    value = jnp.square(params["w"].sum() - data).sum()
    return value, {"loss": value}


def noisy_tasks(dtype=float, tasks=4):
    keys = jax.random.split(KEY, 2)
    return {"w": jax.random.normal(keys[0], (3,), dtype)}, jax.random.normal(keys[1], (tasks, 3), dtype)


def assert_close(got, expected, tolerance):
    chex.assert_trees_all_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("micro_batch", [None, 1, 2, 4])
def test_tasks_at_once_or_a_few_at_a_time_equal_a_python_loop(x64, dtype, micro_batch):
    params, data = noisy_tasks(dtype)
    differentiate = jax.jit(jmeta.value_and_gradient(jmeta.over_tasks(noisy), micro_batch=micro_batch))
    (loss, metrics), gradient = differentiate(params, KEY, data, step=2)
    one = jax.jit(jax.value_and_grad(noisy, has_aux=True))
    each = [one(params, key, task, step=2) for key, task in zip(jax.random.split(KEY, 4), data, strict=True)]
    (expected_loss, expected_metrics), expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *each)
    assert_close((loss, metrics, gradient), (expected_loss, expected_metrics, expected), TOLERANCES[dtype])


# Float64 and float32.
@pytest.mark.parametrize("tolerance", [1e-12, 1e-5])
@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_mixture_is_the_weighted_sum_of_its_kinds(request, micro_batch, tolerance):
    if tolerance < 1e-5:
        request.getfixturevalue("x64")
    params, data = noisy_tasks()
    other = jnp.arange(6.0).reshape(6, 1)
    objectives = {"b": jmeta.over_tasks(noisy), "a": jmeta.over_tasks(quiet), "c": quiet}
    mixture = jmeta.mixture(objectives, {"b": 0.5, "c": 3.0})
    (loss, metrics), gradient = jax.jit(jmeta.value_and_gradient(mixture, micro_batch=micro_batch))(
        params, KEY, {"a": other, "b": data, "c": other}
    )
    keys = jax.random.split(KEY, 3)
    parts = {
        name: jax.value_and_grad(objective, has_aux=True)(params, key, {"a": other, "b": data, "c": other}[name])
        for key, (name, objective) in zip(keys, sorted(objectives.items()), strict=True)
    }
    weights = {"a": 1.0, "b": 0.5, "c": 3.0}
    assert_close(loss, sum(weights[name] * parts[name][0][0] for name in parts), tolerance)
    assert_close(gradient["w"], sum(weights[name] * parts[name][1]["w"] for name in parts), tolerance)
    assert set(metrics) == {"loss", "a/loss", "b/loss", "b/first", "c/loss"}
    assert_close(metrics["b/first"], parts["b"][0][1]["first"], tolerance)


def test_micro_batches_reach_a_mixture_within_a_mixture():
    nested = jmeta.mixture({"outer": jmeta.mixture({"inner": jmeta.over_tasks(quiet)})})
    differentiate = jmeta.value_and_gradient(nested, micro_batch=2)
    with pytest.raises(ValueError, match="micro_batch must divide the number of tasks; got micro_batch=2 and 3 tasks"):
        jax.eval_shape(differentiate, noisy_tasks()[0], KEY, {"outer": {"inner": jnp.ones((3, 1))}})


def test_separate_tasks_of_one_kind_have_the_losses_and_gradients_of_a_loop(x64):
    params, data = noisy_tasks()
    losses, metrics = jmeta.task_losses(noisy)(params, KEY, data, step=2)
    (same, _), gradients = jax.jit(jmeta.task_gradients(noisy))(params, KEY, data, step=2)
    for row, (key, task) in enumerate(zip(jax.random.split(KEY, 4), data, strict=True)):
        (loss, _), gradient = jax.value_and_grad(noisy, has_aux=True)(params, key, task, step=2)
        assert_close((losses[row], same[row], gradients["w"][row]), (loss, loss, gradient["w"]), 1e-12)
    assert_close(metrics["loss"], losses.mean(), 1e-12)


def test_separate_tasks_of_several_kinds_come_in_the_order_of_names_with_zero_rows_for_foreign_heads(x64):
    def of(name, power):
        def objective(params, key, data, *, step=0):
            del key, step
            value = (params["encoder"] * params[name] * data**power).sum()
            return value, {"loss": value}

        return objective

    params = {"encoder": jnp.array(2.0), "one": jnp.array(3.0), "many": jnp.array(5.0)}
    data = {"one": jnp.array([1.0, 2.0, 3.0]), "many": jnp.array([[1.0, 1.0], [4.0, 0.5]])}
    objectives = {"one": of("one", 1), "many": jmeta.over_tasks(of("many", 2))}
    losses, metrics = jmeta.task_losses(objectives)(params, KEY, data)
    (same, _), gradients = jmeta.task_gradients(objectives)(params, KEY, data)
    sums = np.array([2.0, 16.25, 6.0])  # of data**power: two tasks of "many", then "one"
    heads = np.array([5.0, 5.0, 3.0])
    assert_close((losses, same), (2 * heads * sums,) * 2, 1e-15)
    assert_close(gradients["encoder"], heads * sums, 1e-15)
    assert_close(gradients["many"], 2 * sums * np.array([1, 1, 0]), 1e-15)
    assert_close(gradients["one"], 2 * sums * np.array([0, 0, 1]), 1e-15)
    assert set(metrics) == {"loss", "many/loss", "one/loss"}
    # Tasks of one kind are averaged in its metric.
    assert_close(metrics["many/loss"], (2 * heads * sums)[:2].mean(), 1e-15)


class Network(nn.Module):
    """Batch statistics between two dense layers."""

    outputs: int

    @nn.compact
    def __call__(self, x, mask=None):
        return nn.Dense(self.outputs, name="head")(jnp.tanh(BatchStatistics()(nn.Dense(4, name="body")(x), mask)))


def learner(name, ways):
    model = jmeta.from_linen(Network(ways))
    loss_fn, optimizer = optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.3)
    if name == "prototypical_networks":
        return jmeta.prototypical_networks(jmeta.from_linen(Network(3)))
    if name == "anil":
        head = jmeta.Model(model.init, lambda params, x, *, key=None, mask=None: x @ params["kernel"])
        head = head._replace(init=lambda key, x: {"kernel": jnp.zeros((x.shape[1], ways))})
        return jmeta.anil(jmeta.EncoderHead(jmeta.from_linen(Network(3)), head), loss_fn, optimizer, num_steps=2)
    return (jmeta.maml if name == "maml" else jmeta.reptile)(model, loss_fn, optimizer, num_steps=2)


def with_absent_classes(params, ways):
    """Gives the heads of three classes further columns."""

    def widen(path, leaf):
        is_head = "head" in (getattr(path[0], "key", None), getattr(path[0], "name", None))
        return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, ways - 3)], constant_values=0.7) if is_head else leaf

    return jax.tree_util.tree_map_with_path(widen, params)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("maml", "float64"), ("maml", "float32"), ("anil", "float64"), ("reptile", "float64"), ("prototypical_networks", "float64")],
)
def test_ragged_task_has_the_loss_and_meta_gradient_of_the_same_task_unpadded(x64, name, dtype):
    """Two absent classes, three padded support rows and one padded query row, filled with numbers that would be seen."""
    keys = jax.random.split(KEY, 3)
    support = jmeta.Batch(jax.random.normal(keys[0], (6, 2), dtype), jnp.arange(6) % 3)
    query = jmeta.Batch(jax.random.normal(keys[1], (4, 2), dtype), jnp.arange(4) % 3)
    episode = jmeta.Episode(support, query, jnp.ones(3, bool))
    padded = jmeta.pad_episode(episode, support=9, query=5, ways=5)
    fill = lambda batch: batch._replace(x=jnp.where(batch.mask[:, None], batch.x, 7))  # noqa: E731
    padded = padded._replace(support=fill(padded.support), query=fill(padded.query))

    plain, wide = learner(name, 3), learner(name, 5)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), plain.init(keys[2], episode))
    widen = with_absent_classes if name in ("maml", "anil", "reptile") else lambda params, ways: params
    evaluate = lambda one: jax.jit(jax.value_and_grad(one.loss, has_aux=True))  # noqa: E731
    (loss, metrics), gradient = evaluate(plain)(params, KEY, episode)
    (got_loss, got_metrics), got = evaluate(wide)(widen(params, 5), KEY, padded)

    assert got_metrics.pop("present")
    assert_close((got_loss, got_metrics), (loss, metrics), TOLERANCES[dtype])
    assert optax.tree.norm(gradient) > 1e-3
    expected = jax.tree.map(
        lambda leaf, shape: jnp.pad(leaf, [(0, b - a) for a, b in zip(leaf.shape, shape.shape, strict=True)]), gradient, got
    )
    assert_close(got, expected, TOLERANCES[dtype])


def test_padded_rows_may_hold_anything_in_a_score():
    batch = jmeta.Batch(jnp.zeros((3, 1)), jnp.array([[1.0], [2.0], [jnp.nan]]), jnp.array([True, True, False]))
    value = jmeta.score(jmeta.squared_error, jnp.zeros((3, 1)), batch)
    assert value == 2.5


def test_a_batch_without_a_real_row_scores_zero():
    batch = jmeta.Batch(jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.zeros(2, bool))
    assert jmeta.score(jmeta.squared_error, jnp.zeros((2, 1)), batch) == 0


def test_absent_classes_are_never_predicted():
    logits = jnp.array([[1.0, 2.0, 9.0]])
    batch = jmeta.Batch(jnp.zeros((1, 1)), jnp.array([1]))
    assert jmeta.score(jmeta.accuracy, logits, batch) == 0
    assert jmeta.score(jmeta.accuracy, logits, batch, jnp.array([True, True, False])) == 1


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_one_trace_serves_new_keys_new_tasks_and_new_learning_rates(micro_batch):
    objective_traces, step_traces = [], []

    def counted(params, key, data, *, step=0):
        objective_traces.append(step)
        return noisy(params, key, data, step=step)

    def counted_step(state, data):
        step_traces.append(state)
        return step(state, data)

    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
    step = jmeta.make_step(jmeta.over_tasks(counted), optimizer, micro_batch=micro_batch)
    jitted = jax.jit(counted_step)
    params, _ = noisy_tasks()
    state = jmeta.init_state(params, optimizer, KEY)
    generator = np.random.default_rng(0)
    seen = set()
    for count in range(100):
        rate = jnp.asarray([0.1, 0.05, 0.02, 0.01, 0.001][count % 5], jnp.float32)
        state = state._replace(key=jax.random.key(count), optimizer_state=optax.tree.set(state.optimizer_state, learning_rate=rate))
        before = state.params["w"]
        state, _ = jitted(state, generator.normal(size=(4, 3)).astype(np.float32))
        seen.add(float(abs(state.params["w"] - before).max()) > 0)
    assert seen == {True}
    assert len(step_traces) == 1
    assert len(objective_traces) == 1
    assert state.step == 100


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: jmeta.value_and_gradient(jmeta.over_tasks(noisy), micro_batch=3)(*noisy_tasks()[:1], KEY, noisy_tasks()[1]),
            "micro_batch must divide the number of tasks; got micro_batch=3 and 4 tasks",
        ),
        (
            lambda: jmeta.value_and_gradient(jmeta.over_tasks(noisy), micro_batch=0),
            "micro_batch must be a whole number of at least 1; got 0",
        ),
        (lambda: jmeta.value_and_gradient(noisy, micro_batch=2), "micro_batch=2 needs an objective with a task axis"),
        (
            lambda: jmeta.over_tasks(noisy)({}, KEY, {"x": jnp.zeros((4, 3)), "y": jnp.zeros(())}),
            "data must carry one leading task axis on every leaf",
        ),
        (
            lambda: jmeta.over_tasks(noisy)({}, KEY, {"x": jnp.zeros((4, 3)), "y": jnp.zeros((3, 3))}),
            "data must carry one leading task axis on every leaf",
        ),
        (lambda: jmeta.over_tasks(noisy)({}, KEY, ()), "data must carry one leading task axis on every leaf"),
        (lambda: jmeta.mixture({}), "objectives must name at least one objective; got an empty mapping"),
        (
            lambda: jmeta.mixture({"a": noisy}, {"b": 1.0, "a": 2.0}),
            r"weights must name objectives among \['a'\]; got \['b'\]",
        ),
        (
            lambda: jmeta.mixture({"a": noisy, "b": noisy})({}, KEY, {"a": 0}),
            r"data must be a mapping with an entry for each of \['a', 'b'\]; got \['a'\]",
        ),
        (lambda: jmeta.mixture({"a": noisy})({}, KEY, jnp.zeros(3)), r"data must be a mapping .*; got ArrayImpl"),
        (
            lambda: jmeta.task_losses({"a": noisy})({}, KEY, {"b": 0}),
            r"data must be a mapping with an entry for each of \['a'\]; got \['b'\]",
        ),
        (
            lambda: jmeta.score(lambda outputs, targets: jnp.zeros(()), jnp.zeros((2, 1)), jmeta.Batch(0, jnp.zeros((2, 1)))),
            r"loss_fn must give one row per example, \[n, ...\]; got \(\)",
        ),
        (
            lambda: jmeta.score(lambda outputs, targets: targets, jnp.zeros((3, 1)), jmeta.Batch(0, jnp.zeros((2, 1)))),
            r"loss_fn must give one row per example, \[n, ...\]; got \(2, 1\) from outputs \(3, 1\)",
        ),
        (
            lambda: jmeta.score(jmeta.accuracy, jnp.zeros((2, 3)), jmeta.Batch(0, jnp.zeros(2, int)), jnp.ones(4, bool)),
            r"classes must mark each of the model's outputs; got classes of shape \(4,\) for outputs \(2, 3\)",
        ),
    ],
)
def test_misuse_is_refused_in_a_sentence(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_step_combinations_without_a_meaning_are_refused():
    aggregation = jmeta.aggregate(jmeta.pcgrad(), optax.sgd(0.1))
    weighting = jmeta.equal_weighting()
    remembering = jmeta.ObjectiveWithMemory(lambda params, key: (), lambda params, key, data, memory, *, step=0: None)
    build = functools.partial(jmeta.make_step, jmeta.task_losses(noisy))
    with pytest.raises(ValueError, match=r"weighting and aggregate.* exclude each other"):
        build(aggregation, weighting=weighting)
    for options in ({"optimizer": aggregation}, {"optimizer": optax.sgd(0.1), "weighting": weighting}):
        with pytest.raises(ValueError, match="micro_batch works on a scalar objective"):
            build(**options, micro_batch=2)
    params, data = noisy_tasks()
    for optimizer, weighing in ((optax.sgd(0.1), weighting), (aggregation, None)):
        with pytest.raises(ValueError, match=r"tasks must be given with a weighting or aggregate\(...\), .*; got None"):
            jmeta.init_state(params, optimizer, KEY, weighting=weighing)
    with pytest.raises(ValueError, match="weighting and an objective with a memory exclude each other; got both"):
        jmeta.init_state(params, optax.sgd(0.1), KEY, tasks=4, weighting=weighting, objective=remembering)
    state = jmeta.init_state(params, optax.sgd(0.1), KEY, weighting=weighting, tasks=4)
    with pytest.raises(ValueError, match=r"objective must give one loss per task with a weighting: .*got shape \(\)"):
        jmeta.make_step(jmeta.over_tasks(noisy), optax.sgd(0.1), weighting=weighting)(state, data)
    with pytest.raises(ValueError, match="objective must be task_gradients"):
        jmeta.make_step(jmeta.over_tasks(noisy), aggregation)(jmeta.init_state(params, aggregation, KEY, tasks=4), data)
    gradients, joint = jmeta.task_gradients(noisy), jmeta.joint_gradients(jmeta.task_losses(noisy))
    for objective in (gradients, joint):
        with pytest.raises(ValueError, match=r"optimizer must be aggregate\(...\) for task_gradients or joint_gradients"):
            jmeta.make_step(objective, optax.adam(1e-3))
    with pytest.raises(ValueError, match="an objective with a memory gives one loss; got it with a weighting or an aggregation"):
        jmeta.make_step(remembering, aggregation)


# --- whole numbers as targets are labels of classes where the loss says so ------------------------------------------------------


def line(*shape):
    """A model with one output per row, ``[n, *shape]``."""

    def init(key, x):
        return jax.random.normal(key, (x.shape[-1],))

    return jmeta.from_functions(init, lambda params, x: (x @ params).reshape(-1, *shape))


def units():
    def init(key, x):
        return jax.random.normal(key, (x.shape[-1], 4))

    return jmeta.from_functions(init, lambda params, x: jnp.tanh(x @ params))


def binary(outputs, labels):
    return optax.sigmoid_binary_cross_entropy(outputs.reshape(-1), labels)


def poisson(outputs, counts):
    return jnp.exp(outputs) - counts * outputs


def counted(outputs, counts):
    return jnp.square(jnp.exp(outputs) - counts)


# Loss, shape of an output, highest target, metric, and the loss in NumPy.
WHOLE = {
    "one logit per label": (binary, (), 1, jmeta.accuracy, lambda z, y: np.logaddexp(0, z) - y * z),
    "one logit in a column": (binary, (1,), 1, jmeta.accuracy, lambda z, y: np.logaddexp(0, z) - y * z),
    "counts": (poisson, (), 9, counted, lambda z, y: np.exp(z) - y * z),
}
WITH_ONE_OUTPUT = {
    "maml": lambda loss_fn, head: jmeta.maml(head, loss_fn, optax.sgd(0.1)),
    "reptile": lambda loss_fn, head: jmeta.reptile(head, loss_fn, optax.sgd(0.1)),
    "anil": lambda loss_fn, head: jmeta.anil(jmeta.EncoderHead(units(), head), loss_fn, optax.sgd(0.1)),
    "boil": lambda loss_fn, head: jmeta.boil(jmeta.EncoderHead(units(), head), loss_fn, optax.sgd(0.1)),
    "meta_sgd": lambda loss_fn, head: jmeta.meta_sgd(head, loss_fn),
}


def whole_numbers(highest, classes=None):
    """A sampler of tasks with integer targets."""

    def sample(data, key):
        keys = jax.random.split(key, 4)
        parts = [
            jmeta.Batch(jax.random.normal(x, (5, 3)), jax.random.randint(y, (5,), 0, highest + 1)) for x, y in keys.reshape(2, 2)
        ]
        return jmeta.Episode(*parts, classes)

    return jmeta.Sampler((), sample)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("name", WITH_ONE_OUTPUT)
def test_whole_numbers_may_be_targets_of_one_output_for_every_learner(name, kind):
    """The first task is looked at and traced, adapted to, and scored."""
    loss_fn, shape, highest, metric, _ = WHOLE[kind]
    learner, sampler = WITH_ONE_OUTPUT[name](loss_fn, line(*shape)), whole_numbers(highest)
    episode = sampler.sample((), KEY)
    params = learner.init(KEY, episode)
    value, _ = jax.eval_shape(learner.loss, params, KEY, episode)
    assert (value.shape, value.dtype) == ((), jnp.float32)

    def scored(params):
        outputs = learner.predict(params, learner.adapt(params, KEY, episode.support), episode.query.x)
        return jmeta.score(metric, outputs, episode.query, name="metric")

    assert jax.eval_shape(scored, params).shape == ()


@pytest.mark.parametrize("kind", WHOLE)
def test_the_loss_of_whole_numbers_is_that_of_numpy_and_evaluate_scores_them(kind):
    loss_fn, shape, highest, metric, expected = WHOLE[kind]
    # A task of two classes says so; one logit decides between both.
    sampler = whole_numbers(highest, jnp.ones(2, bool) if metric is jmeta.accuracy else None)
    learner, episode = jmeta.maml(line(*shape), loss_fn, optax.sgd(0.1), num_steps=0), sampler.sample((), KEY)
    params = learner.init(KEY, episode)
    z, y = np.asarray(episode.query.x @ params), np.asarray(episode.query.y)
    np.testing.assert_allclose(learner.loss(params, KEY, episode)[0], expected(z, y).mean(), rtol=1e-5)
    found = jmeta.evaluate(learner, params, sampler, metric=metric, episodes=2).values
    keys = [jax.random.split(key)[0] for key in jax.random.split(jax.random.key(0), 2)]
    for value, key in zip(found[:, 0], keys, strict=True):
        query = sampler.sample((), key).query
        z, y = np.asarray(query.x @ params), np.asarray(query.y)
        right = (z > 0) == y if metric is jmeta.accuracy else np.square(np.exp(z) - y)
        np.testing.assert_allclose(value, right.mean(), rtol=1e-5)


def test_labels_of_softmax_are_below_the_number_of_outputs():
    """The same targets, of which the loss now says that they are classes."""
    episode = whole_numbers(9).sample((), KEY)
    for loss_fn in (optax.softmax_cross_entropy_with_integer_labels, jmeta.negative_log_likelihood):
        with pytest.raises(
            ValueError, match=r"support.y must hold labels 0, ..., 2, one per output of the learner; got label [3-9]"
        ):
            jmeta.maml(jmeta.from_linen(nn.Dense(3)), loss_fn, optax.sgd(0.1)).init(KEY, episode)
    # One output is one class for a softmax, and two for a logit that decides by its sign.
    bits = whole_numbers(1).sample((), KEY)
    for loss_fn, refused in ((optax.softmax_cross_entropy_with_integer_labels, True), (jmeta.negative_log_likelihood, False)):
        learner = jmeta.maml(line(1), loss_fn, optax.sgd(0.1))
        if refused:
            with pytest.raises(ValueError, match=r"must hold labels 0, ..., 0, one per output of the learner; got label 1"):
                learner.init(KEY, bits)
        else:
            learner.init(KEY, bits)
