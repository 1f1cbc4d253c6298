"""Estimates against scipy, episodes against a naive loop, adaptation against its closed form."""

import gc
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import evaluation
from jmeta._episodes import episodes_of
from jmeta.nn import ConvolutionalEncoder, MultilayerPerceptron

RATE = 0.1
# float32: a mean of a few values in another order.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def slope_model():
    return jmeta.Model(lambda key, x: {"w": jnp.ones(())}, lambda params, x, *, key=None, mask=None: params["w"] * x, "nothing")


def slopes(rows=3):
    """Tasks y = c x with x = 1 in the support, so that a gradient step multiplies the error of the slope by 1 - 2 RATE."""

    def sample(data, key):
        slope = jax.random.normal(key) + data
        x = jnp.arange(1.0, rows + 1)[:, None]
        return jmeta.Episode(jmeta.Batch(jnp.ones((2, 1)), jnp.full((2, 1), slope)), jmeta.Batch(x, slope * x))

    return jmeta.Sampler(jnp.float32(3), sample)


def slope_learner(num_steps=1):
    return jmeta.maml(slope_model(), jmeta.squared_error, optax.sgd(RATE), num_steps=num_steps)


def constant_learner():
    """Adapts to nothing and has no path."""
    return jmeta.Learner(
        init=lambda key, episode: {"w": jnp.ones(())},
        adapt=lambda params, key, support, *, classes=None, training=False: {},
        predict=lambda params, adapted, x, *, key=None, mask=None: params["w"] + 0 * x,
        loss=lambda params, key, episode, *, step=0, training=True: (params["w"], {"loss": params["w"]}),
    )


def target(outputs, targets):
    """Shows the episode itself."""
    return targets + 0 * outputs


def naive_episodes(sampler, count, seed):
    keys = [jax.random.split(key)[0] for key in jax.random.split(jax.random.key(seed), count)]
    return [jax.jit(sampler.sample)(sampler.data, key) for key in keys]


def compilations():
    """A list that grows with every program that jax compiles."""
    found = []

    def listen(name, duration, **details):
        if name == "/jax/core/compile/backend_compile_duration":
            found.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return found


COMPILATIONS = compilations()


@pytest.mark.parametrize("count", [2, 3, 30, 1000])
def test_estimate_is_the_t_interval(count):
    from scipy import stats

    values = np.random.default_rng(count).normal(3, 2, count)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    found = jmeta.estimate(values)
    # Both are float64.
    np.testing.assert_allclose([found.mean - found.half_width, found.mean + found.half_width], [low, high], rtol=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0])
def test_estimate_needs_two_values(values):
    with pytest.raises(ValueError, match=r"values must hold at least two values, \[n\]; got shape"):
        jmeta.estimate(values)


def test_an_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    inside = np.mean([abs(found.mean) <= found.half_width for found in map(jmeta.estimate, draws)])
    # Four standard errors of a frequency of 0.95 in 2,000 draws.
    assert abs(inside - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def test_episodes_are_those_of_a_naive_loop():
    sampler = slopes()
    expected = [episode.query.y.mean() for episode in naive_episodes(sampler, 7, seed=3)]
    found = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, sampler, metric=target, episodes=7, seed=3)
    np.testing.assert_allclose(found.values[:, 0], expected, **FLOAT32)
    assert found.metric == "target"
    assert found.after_steps == (jmeta.estimate(found.values[:, 0]),)


def test_a_sampler_without_end_gives_a_thousand_episodes_and_a_hundred_to_a_validation():
    made, params, options = constant_learner(), {"w": jnp.ones(())}, {"metric": target, "batch_size": 100}
    assert jmeta.evaluate(made, params, slopes(), **options).values.shape == (1000, 1)
    assert np.unique(jmeta.predict_episodes(made, params, slopes(), batch_size=100).tasks).size == 1000
    asked = jmeta.validator(made, slopes(), episodes=100, **options)(params)
    assert jmeta.validator(made, slopes(), **options)(params) == asked


def test_episodes_depend_on_the_sampler_and_the_seed_alone():
    params = {"w": jnp.ones(())}
    first = jmeta.evaluate(slope_learner(), params, slopes(), metric=target, episodes=7)
    for other in (
        jmeta.evaluate(slope_learner(), params, slopes(), metric=target, episodes=7, num_steps=2),
        jmeta.evaluate(slope_learner(3), {"w": jnp.zeros(())}, slopes(), metric=target, episodes=7, batch_size=3),
        jmeta.evaluate(constant_learner(), params, slopes(), metric=target, episodes=7),
    ):
        assert other.episodes == first.episodes
        for column in other.values.T:
            np.testing.assert_allclose(column, first.values[:, 0], **FLOAT32)
    longer = jmeta.evaluate(slope_learner(), params, slopes(), metric=target, episodes=9)
    np.testing.assert_allclose(longer.values[:7], first.values, **FLOAT32)
    for other in (
        jmeta.evaluate(slope_learner(), params, slopes(), metric=target, episodes=7, seed=1),
        jmeta.evaluate(slope_learner(), params, slopes()._replace(data=jnp.float32(4)), metric=target, episodes=7),
    ):
        assert other.episodes != first.episodes
        assert np.abs(other.values - first.values).min() > 0


@pytest.mark.parametrize("batch_size", [1, 4])
def test_adaptation_beyond_training_follows_its_closed_form(batch_size):
    sampler, start, steps = slopes(), 1.0, 6
    found = jmeta.evaluate(
        slope_learner(num_steps=1),
        {"w": jnp.float32(start)},
        sampler,
        metric=jmeta.squared_error,
        num_steps=steps,
        episodes=9,
        batch_size=batch_size,
    )
    slope = np.array([episode.support.y[0, 0] for episode in naive_episodes(sampler, 9, seed=0)], np.float64)
    error = (start - slope)[:, None] * (1 - 2 * RATE) ** np.arange(steps + 1)
    # The mean of x squared over 1, 2, 3.
    np.testing.assert_allclose(found.values, error**2 * 14 / 3, rtol=1e-4)
    assert len(found.after_steps) == steps + 1
    assert found.after_steps[6] == jmeta.estimate(found.values[:, 6])
    assert found.normalization == "nothing"
    assert found.transductive is False


def test_the_trained_number_of_steps_is_on_the_path():
    arguments = ({"w": jnp.ones(())}, slopes())
    path = jmeta.evaluate(slope_learner(3), *arguments, metric=jmeta.squared_error, num_steps=3, episodes=5)
    trained = jmeta.evaluate(slope_learner(3), *arguments, metric=jmeta.squared_error, episodes=5)
    np.testing.assert_allclose(path.values[:, 3], trained.values[:, 0], **FLOAT32)
    before = jmeta.evaluate(slope_learner(3), *arguments, metric=jmeta.squared_error, num_steps=0, episodes=5)
    np.testing.assert_allclose(path.values[:, :1], before.values, **FLOAT32)


def test_a_learner_without_a_path_has_one_estimate():
    found = jmeta.evaluate(constant_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, episodes=5)
    assert found.values.shape == (5, 1)
    assert found.normalization == "not stated"
    with pytest.raises(ValueError, match="num_steps must be None for a learner whose adaptation is not iterative; got 3"):
        jmeta.evaluate(constant_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, num_steps=3)


WRONG = [
    ({"episodes": 1}, "episodes must be at least 2"),
    ({"batch_size": 0}, "batch_size at least 1"),
    ({"num_steps": -1}, "num_steps must be a whole number of at least 0; got -1"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_counts_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, **options)


def test_a_metric_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="metric must give one row per example"):
        jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, slopes(), metric=lambda outputs, targets: outputs.mean(), episodes=2)


def changed(sampler, change):
    return jmeta.Sampler(sampler.data, lambda data, key: change(sampler.sample(data, key)))


def reversed_query(episode):
    return episode._replace(query=jax.tree.map(lambda leaf: leaf[::-1], episode.query))


def padded(episode):
    return jmeta.pad_episode(episode, support=5, query=8)


@pytest.mark.parametrize("change", [reversed_query, padded])
def test_neither_the_order_nor_the_padding_of_a_query_counts(change):
    arguments = {"metric": jmeta.squared_error, "num_steps": 2, "episodes": 5}
    first = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, slopes(), **arguments)
    second = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, changed(slopes(), change), **arguments)
    np.testing.assert_allclose(first.values, second.values, **FLOAT32)


def test_paired_difference_is_the_interval_of_the_paired_t_test():
    from scipy import stats

    arguments = {"metric": jmeta.squared_error, "episodes": 20}
    first = jmeta.evaluate(slope_learner(), {"w": jnp.float32(2.5)}, slopes(), num_steps=3, **arguments)
    second = jmeta.evaluate(slope_learner(), {"w": jnp.float32(1.5)}, slopes(), num_steps=2, **arguments)
    found = jmeta.paired_difference(first, second)
    assert list(found) == [0, 1, 2]
    for step, difference in found.items():
        interval = stats.ttest_rel(first.values[:, step], second.values[:, step]).confidence_interval(0.95)
        expected = [interval.low, interval.high]
        np.testing.assert_allclose(
            [difference.mean - difference.half_width, difference.mean + difference.half_width], expected, rtol=1e-10
        )


@pytest.mark.parametrize("change", [{"episodes": "0" * 64}, {"metric": "accuracy"}, {"values": np.zeros((3, 1))}])
def test_only_the_same_episodes_are_paired(change):
    found = jmeta.evaluate(constant_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, episodes=5)
    with pytest.raises(ValueError, match="one metric on the same episodes; got squared_error on 5"):
        jmeta.paired_difference(found, found._replace(**change))


def images():
    """Two classes of noise around two images."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 1, 4, 4, 1)) + draw.normal(size=(2, 10, 4, 4, 1))
    return jmeta.from_arrays(x.reshape(20, 4, 4, 1).astype(np.float32), np.repeat([0, 1], 10), ways=2, shots=1, queries=3)


def image_learner(kind, normalization):
    encoder = jmeta.from_linen(ConvolutionalEncoder((2,), normalization=normalization))
    if kind == "prototypical":
        return jmeta.prototypical_networks(encoder)
    model = jmeta.compose(encoder, jmeta.from_linen(MultilayerPerceptron((2,))))
    return jmeta.maml(model, optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.1))


@pytest.mark.parametrize(
    ("kind", "normalization", "transductive", "pad"),
    [
        ("maml", "batch", True, False),
        ("maml", "group", False, False),
        ("prototypical", "batch", True, False),
        ("prototypical", "group", False, False),
        ("prototypical", "batch", True, True),
        ("prototypical", "group", False, True),
    ],
)
def test_normalisation_is_reported_and_transduction_is_seen(kind, normalization, transductive, pad):
    learner, sampler = image_learner(kind, normalization), images()
    if pad:
        sampler = changed(sampler, lambda episode: _behind_padding(jmeta.pad_episode(episode, support=3, query=8)))
    episode = sampler.sample(sampler.data, jax.random.key(0))
    params = jax.jit(learner.init)(jax.random.key(1), episode)
    assert learner.normalization == normalization
    assert evaluation.is_transductive(learner, params, episode) is transductive


def _behind_padding(episode):
    """Puts the padded rows of the query first."""
    return reversed_query(episode)


def test_a_second_evaluation_compiles_nothing():
    learner, sampler, metric = slope_learner(), slopes(), jmeta.squared_error

    def evaluate(start):
        return jmeta.evaluate(learner, {"w": jnp.asarray(start)}, sampler, metric=metric, num_steps=2, episodes=5)

    first, before = evaluate(np.float32(1)), len(COMPILATIONS)
    second = evaluate(np.float32(2))
    assert len(COMPILATIONS) == before > 0
    assert np.abs(first.values - second.values).min() > 0


def test_the_time_of_an_episode_leaves_compilation_out(monkeypatch):
    seen = []

    def perf_counter():
        seen.append(len(COMPILATIONS))
        return 1.0 + 0.5 * len(seen)

    monkeypatch.setattr(evaluation, "time", types.SimpleNamespace(perf_counter=perf_counter))
    before = len(COMPILATIONS)
    found = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, episodes=5)
    assert len(seen) == 2
    assert before < seen[0] == seen[1]
    assert found.milliseconds_per_episode == 100


def test_memory_does_not_grow_with_the_episodes():
    sampler, size = slopes(rows=10_000), 4 * 10_000

    def temporary(episodes):
        draw, which, _ = episodes_of(sampler, episodes, 0, 1, endless=1000)
        program = evaluation._values(slope_learner(), draw, jmeta.squared_error, 1, 1, False)
        lowered = program.lower({"w": jnp.ones(())}, sampler.data, which)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    # Keys and scores may grow, by a few numbers an episode; all queries at once would take 200 times ``size``.
    assert temporary(200) - temporary(2) < size


def test_the_validator_averages_loss_and_metric_over_its_episodes():
    learner, sampler, params = slope_learner(), slopes(), {"w": jnp.float32(1.5)}
    validate = jmeta.validator(learner, sampler, metric=jmeta.squared_error, episodes=5, batch_size=2)
    losses = [learner.loss(params, jax.random.key(0), episode)[0] for episode in naive_episodes(sampler, 5, seed=1)]
    found = validate(params)
    assert sorted(found) == ["diverged", "loss", "squared_error"]
    assert all(type(value) is float for value in found.values())
    np.testing.assert_allclose([found["loss"], found["squared_error"]], np.mean(losses), **FLOAT32)
    assert found["diverged"] == 0
    before = len(COMPILATIONS)
    validate({"w": jax.device_put(np.float32(2))})
    assert len(COMPILATIONS) == before


def test_a_validation_task_that_diverges_is_counted():
    """A slope of infinity has no finite loss; its step is never the best."""

    def sample(data, key):
        del data
        slope = jnp.where(jax.random.bernoulli(key), 1.0, 1e30)
        batch = jmeta.Batch(jnp.ones((2, 1)), jnp.full((2, 1), slope))
        return jmeta.Episode(batch, batch)

    sampler = jmeta.Sampler((), sample)
    wild = sum(float(episode.query.y[0, 0]) > 1 for episode in naive_episodes(sampler, 30, seed=1))
    found = jmeta.validator(slope_learner(), sampler, metric=jmeta.squared_error, episodes=30)({"w": jnp.ones(())})
    assert found["diverged"] == wild > 0
    assert not np.isfinite(found["loss"])
    evaluated = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, sampler, metric=jmeta.squared_error, episodes=30, seed=1)
    assert evaluated.diverged == (wild,)


def with_dropout():
    """Two classes, one feature vector each, through dropout: their squared distance is 2."""
    x, y = jnp.eye(2), jnp.arange(2)
    batch = jmeta.Batch(x, y)
    sampler = jmeta.Sampler((), lambda data, key: jmeta.Episode(batch, batch, jnp.ones(2, bool)))

    def apply(params, x, *, key=None, mask=None):
        del mask
        kept = 1.0 if key is None else 2.0 * jax.random.bernoulli(key, 0.5, x.shape)
        return params * x * kept

    return jmeta.Model(lambda key, x: jnp.ones(()), apply), sampler


def test_evaluation_and_validation_are_deterministic_although_training_drops_out():
    encoder, sampler = with_dropout()
    learner, params = jmeta.prototypical_networks(encoder), jnp.ones(())
    found = jmeta.evaluate(learner, params, sampler, metric=jmeta.accuracy, episodes=50)
    assert found.after_steps[0] == (1.0, 0.0)
    validated = jmeta.validator(learner, sampler, metric=jmeta.accuracy)(params)
    np.testing.assert_allclose(validated["loss"], np.log(1 + np.exp(-2)), **FLOAT32)
    dropped = jmeta.evaluate(learner, params, sampler, metric=jmeta.accuracy, episodes=50, training=True)
    assert dropped.after_steps[0].mean < 1
    losses = [float(learner.loss(params, jax.random.key(seed), sampler.sample((), None))[0]) for seed in range(5)]
    assert len(set(losses)) > 1


@pytest.mark.parametrize("kind", ["maml", "reptile", "anil"])
def test_inner_steps_drop_out_at_test_time_only_where_that_is_asked_for(kind):
    encoder, sampler = with_dropout()
    head = jmeta.from_linen(MultilayerPerceptron((2,)))
    loss_fn, optimizer = optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.5)
    parts = jmeta.EncoderHead(encoder, head)
    learner = (
        jmeta.anil(parts, loss_fn, optimizer) if kind == "anil" else getattr(jmeta, kind)(jmeta.compose(*parts), loss_fn, optimizer)
    )
    params = learner.init(jax.random.key(0), sampler.sample((), None))
    options = {"metric": loss_fn, "num_steps": 1, "episodes": 9}
    # Tasks are equal: whatever differs between episodes was drawn.
    quiet, noisy = (jmeta.evaluate(learner, params, sampler, **options, training=training) for training in (False, True))
    assert np.ptp(quiet.values, axis=0).max() == 0
    assert np.ptp(noisy.values[:, 1]) > 0
    assert np.ptp(noisy.values[:, 0]) == 0


def test_inputs_may_be_trees():
    """Token ids with their mask, a sequence with its length."""

    def sample(data, key):
        del data
        ids = jax.random.randint(key, (4, 3), 0, 5)
        x = {"ids": ids, "length": (jnp.full(4, 2), jnp.ones(4))}
        y = (ids[:, :2].sum(axis=1) > 4).astype(int)
        return jmeta.Episode(jmeta.Batch(x, y), jmeta.Batch(x, y), jnp.ones(2, bool))

    def apply(params, x, *, key=None, mask=None):
        del key, mask
        return params["table"][x["ids"]].sum(axis=1) * (x["length"][0] / 2)[:, None]

    model = jmeta.Model(lambda key, x: {"table": jax.random.normal(key, (5, 2))}, apply)
    learner = jmeta.maml(model, optax.softmax_cross_entropy_with_integer_labels, optax.sgd(0.5))
    sampler = jmeta.Sampler((), sample)
    params = learner.init(jax.random.key(0), sample((), jax.random.key(0)))
    found = jmeta.evaluate(learner, params, sampler, metric=jmeta.accuracy, num_steps=3, episodes=20)
    assert found.after_steps[3].mean > found.after_steps[0].mean
    assert found.transductive is False
    assert found.sizes == {"support": 4, "query": 4, "ways": 2}
    assert jmeta.validator(learner, sampler, metric=jmeta.accuracy)(params)["accuracy"] <= 1


def test_differences_are_paired_by_the_number_of_steps():
    arguments = ({"w": jnp.ones(())}, slopes())
    options = {"metric": jmeta.squared_error, "episodes": 5}
    learner = slope_learner(3)
    trained = jmeta.evaluate(learner, *arguments, **options)
    path = jmeta.evaluate(learner, *arguments, **options, num_steps=3)
    assert (trained.steps, path.steps) == ((3,), (0, 1, 2, 3))
    assert list(jmeta.paired_difference(trained, path)) == [3]
    # The same learner with the same parameters does not differ from itself.
    assert abs(jmeta.paired_difference(trained, path)[3].mean) < 1e-6
    with pytest.raises(ValueError, match="a number of steps that both were scored after; got 3 steps and 0, 1 steps"):
        jmeta.paired_difference(trained, jmeta.evaluate(learner, *arguments, **options, num_steps=1))
    constant = jmeta.evaluate(constant_learner(), *arguments, **options)
    assert list(jmeta.paired_difference(constant, trained)) == [None]
    with pytest.raises(ValueError, match="got no steps and 0, 1, 2, 3 steps"):
        jmeta.paired_difference(constant, path)


def test_an_evaluation_says_what_it_was_measured_on():
    found = jmeta.evaluate(slope_learner(), {"w": jnp.ones(())}, slopes(), metric=jmeta.squared_error, episodes=5, seed=7)
    assert (found.seed, found.sizes, found.steps, len(found.values)) == (7, {"support": 2, "query": 3}, (1,), 5)


def finite(count):
    """Tasks y = c x of the slopes 0, 1, ..."""
    x = np.arange(1.0, 5, dtype=np.float32)[:, None]
    return jmeta.episodes_from([jmeta.Batch(x, slope * x) for slope in range(count)], shots=2)


def test_a_finite_list_of_tasks_is_scored_once_each():
    found = jmeta.evaluate(
        slope_learner(0), {"w": jnp.zeros(())}, finite(10), metric=lambda outputs, targets: targets / jnp.maximum(targets.max(), 1)
    )
    assert found.values.shape == (10, 1)
    slopes_of = jmeta.predict_episodes(slope_learner(0), {"w": jnp.zeros(())}, finite(10))
    # A task's slope is its largest target over its largest input; which rows are queries is drawn.
    seen = sorted({round(float(y.max() / 4), 1) for y in np.split(slopes_of.targets, 10)})
    assert len(seen) >= 8
    assert sorted(np.unique(slopes_of.tasks).tolist()) == list(range(10))
    with pytest.raises(ValueError, match="episodes must be at most the 10 tasks of the list, each of which is taken once; got 11"):
        jmeta.evaluate(slope_learner(), {"w": jnp.zeros(())}, finite(10), metric=jmeta.squared_error, episodes=11)
    some = jmeta.validator(slope_learner(), finite(10), metric=jmeta.squared_error)
    assert some({"w": jnp.zeros(())})["loss"] > 0


def test_few_programs_are_kept_for_metrics_that_are_made_anew():
    metric = lambda outputs, targets: jnp.square(outputs - targets)  # noqa: E731
    kept = weakref.ref(metric)
    arguments = ({"w": jnp.ones(())}, slopes())
    jmeta.evaluate(constant_learner(), *arguments, metric=metric, episodes=2)
    del metric
    evaluation._values.cache_clear()
    gc.collect()
    assert kept() is None
    assert evaluation._values.cache_info().maxsize <= 16


LEARNERS = {
    "maml": lambda model: jmeta.maml(model, jmeta.squared_error, optax.sgd(0.1)),
    "meta_sgd": lambda model: jmeta.meta_sgd(model, jmeta.squared_error),
    "reptile": lambda model: jmeta.reptile(model, jmeta.squared_error, optax.sgd(0.1)),
    "anil": lambda model: jmeta.anil(jmeta.EncoderHead(model, model), jmeta.squared_error, optax.sgd(0.1)),
    "boil": lambda model: jmeta.boil(jmeta.EncoderHead(model, model), jmeta.squared_error, optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_of_tasks_is_no_task(name):
    """A dense layer takes inputs of any rank, so that nothing else would notice."""
    model = jmeta.from_linen(linen.Dense(1))
    learner, sampler = LEARNERS[name](model), jmeta.sinusoid(shots=3, queries=3)
    batches = jmeta.batch_tasks(sampler, 4)
    episode, batch = sampler.sample(sampler.data, jax.random.key(0)), batches.sample(batches.data, jax.random.key(0))
    params = learner.init(jax.random.key(0), episode)
    sentence = r"episode must be one task; got a batch of 4 tasks: train on jmeta.over_tasks\(learner.loss\)"
    with pytest.raises(ValueError, match=sentence):
        learner.init(jax.random.key(0), batch)
    with pytest.raises(ValueError, match=sentence):
        jax.jit(learner.loss)(params, jax.random.key(0), batch)
    with pytest.raises(ValueError, match=sentence):
        jmeta.evaluate(learner, params, batches, metric=jmeta.squared_error, episodes=2)
    with pytest.raises(ValueError, match=sentence):
        jmeta.validator(learner, batches, metric=jmeta.squared_error)
    optimizer = optax.sgd(0.1)
    with pytest.raises(ValueError, match=sentence):
        jmeta.fit(
            jmeta.make_step(learner.loss, optimizer), jmeta.init_state(params, optimizer, jax.random.key(1)), batches, num_steps=1
        )


def test_a_batch_of_classification_tasks_is_no_task():
    learner = jmeta.prototypical_networks(jmeta.from_linen(linen.Dense(2)))
    batches = jmeta.batch_tasks(jmeta.from_arrays(np.eye(6, dtype=np.float32), np.arange(6) // 3, ways=2, shots=1, queries=1), 4)
    with pytest.raises(ValueError, match="episode must be one task; got a batch of 4 tasks"):
        learner.init(jax.random.key(0), batches.sample(batches.data, jax.random.key(0)))
