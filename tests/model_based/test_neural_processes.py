"""Conditional, latent and attentive neural processes against plain NumPy, and what their deviations and weights mean."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal, norm

import jmeta
from jmeta import testing
from jmeta.model_based._gaussian import divergence
from tests.model_based.networks import KEY, affine, classification, dense, made, plain, regression, softmax

PAIR = jmeta.EncoderHead(dense(3), dense(4))
ATTENTION = {"query": dense(3), "width": 4, "heads": 2}
LEARNERS = {
    "conditional": jmeta.conditional_neural_processes(dense(3), dense(4, 2)),
    "latent": jmeta.neural_processes(PAIR, dense(4, 2)),
    "attentive": jmeta.attentive_neural_processes(dense(3), dense(4, 2), latent=PAIR, **ATTENTION),
    "attentive and conditional": jmeta.attentive_neural_processes(dense(3), dense(4, 2), **ATTENTION),
}


def bounded(raw, low):
    return low + 0.9 * np.log1p(np.exp(raw))


def latent_of(params, x, y):
    """Mean and deviation of the random vector."""
    pooled = plain(params["latent"].encoder, np.concatenate([x, y], axis=1)).mean(axis=0)
    mean, raw = np.split(plain(params["latent"].head, pooled), 2)
    return mean, 0.1 + 0.9 / (1 + np.exp(-raw))


def attended(params, support, x):
    values = affine(params["attention"]["values"], plain(params["encoder"], np.concatenate([support.x, support.y], axis=1)))
    keys = affine(params["attention"]["keys"], plain(params["query"], support.x))
    query, found = affine(params["attention"]["queries"], plain(params["query"], x)), []
    for part in (slice(0, 2), slice(2, 4)):
        found.append(softmax(keys[:, part] @ query[part] / np.sqrt(2)) @ values[:, part])
    return affine(params["attention"]["outputs"], np.concatenate(found))


def naive(params, episode, z, low=0.1):
    """Means and deviations of the query, one row at a time."""
    support, outputs = episode.support, []
    for x in episode.query.x:
        seen = [x]
        if isinstance(params.get("path"), dict):
            seen.append(attended(params["path"], support, x))
        elif "path" in params:
            seen.append(plain(params["path"], np.concatenate([support.x, support.y], axis=1)).mean(axis=0))
        seen += [] if z is None else [z]
        outputs.append(plain(params["decoder"], np.concatenate(seen)))
    mean, raw = np.split(np.stack(outputs), 2, axis=1)
    return mean, bounded(raw, low)


@pytest.mark.parametrize("name", LEARNERS)
def test_predictions_and_losses_are_those_of_plain_loops(x64, name):
    learner, episode = LEARNERS[name], regression()
    params = made(learner, episode)
    (x, y, *_), (query_x, query_y, *_) = episode.support, episode.query

    @jax.jit
    def run(params, episode):
        adapted = learner.adapt(params, None, episode.support)
        loss = learner.loss(params, KEY, episode, training=False)[0]
        return learner.predict(params, adapted, episode.query.x), loss, learner.loss(params, KEY, episode)

    outputs, loss, (value, metrics) = run(params, episode)
    mean, deviation = naive(params, episode, latent_of(params, x, y)[0] if "latent" in params else None)
    likelihood = -norm.logpdf(query_y, mean, deviation).mean()
    chex.assert_trees_all_close((outputs, loss), (jmeta.Gaussian(mean, deviation), likelihood), rtol=1e-10)
    assert np.ptp(mean) > 1e-2
    if "latent" not in params:
        np.testing.assert_allclose((value, metrics["loss"]), likelihood, rtol=1e-10)
        return
    # In training: what was drawn is not known here, but what it costs is.
    (m0, s0), (m1, s1) = latent_of(params, x, y), latent_of(params, np.concatenate([x, query_x]), np.concatenate([y, query_y]))
    excess = (np.log(s0 / s1) + (s1**2 + (m1 - m0) ** 2) / (2 * s0**2) - 0.5).sum()
    np.testing.assert_allclose(metrics["divergence"], excess, rtol=1e-10)
    np.testing.assert_allclose(value, metrics["loss"] + excess / 4, rtol=1e-10)


def test_a_key_draws_from_what_the_support_says_and_in_training_from_what_the_query_says_too(x64):
    """The decoder gives back the random vector, so that moments over keys are those of the distribution."""
    last = jmeta.Model(lambda key, x: jnp.zeros(()), lambda params, x, *, key=None, mask=None: x[:, 2:] + 0 * params)
    learner, episode = jmeta.neural_processes(jmeta.EncoderHead(dense(3), dense(4)), last), regression(queries=1)
    params = made(learner, episode)
    params["decoder"] = np.zeros(())
    (x, y, *_), (query_x, query_y, *_) = episode.support, episode.query

    @jax.jit
    def run(key):
        adapted = learner.adapt(params, key, episode.support)
        drawn = learner.predict(params, adapted, episode.query.x, key=key)
        return drawn.mean[0, 0], learner.loss(params, key, episode)[1]["loss"]

    drawn, losses = jax.vmap(run)(jax.random.split(KEY, 20_000))
    mean, deviation = latent_of(params, x, y)
    # Of 20,000 draws the mean is off by 0.7 hundredths of the deviation, and the deviation by half of that: five times as much.
    np.testing.assert_allclose(drawn.mean(), mean[0], atol=0.035 * deviation[0])
    np.testing.assert_allclose(drawn.std(), deviation[0], rtol=0.025)
    mean, deviation = latent_of(params, np.concatenate([x, query_x]), np.concatenate([y, query_y]))
    z = mean + deviation * np.random.default_rng(0).normal(size=(200_000, 2))
    costs = -norm.logpdf(query_y[0, 0], z[:, 0], bounded(z[:, 1], 0.1))
    np.testing.assert_allclose(losses.mean(), costs.mean(), atol=5 * costs.std() / np.sqrt(20_000))


@pytest.mark.parametrize("name", LEARNERS)
def test_meta_gradient_agrees_with_central_differences(x64, name):
    learner, episode = LEARNERS[name], regression()
    testing.check_gradient(learner.loss, made(learner, episode), KEY, episode, tolerance=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_weights_of_the_support_count_as_repeated_rows_do(x64, name):
    learner, episode, counts = LEARNERS[name], regression(), np.array([2, 0, 1, 3, 1])
    params, support = made(learner, episode), episode.support
    weighed = episode._replace(support=support._replace(weights=counts / 7))
    repeated = episode._replace(support=jmeta.Batch(np.repeat(support.x, counts, axis=0), np.repeat(support.y, counts, axis=0)))

    @jax.jit
    def run(params, episode):
        return jax.value_and_grad(lambda params: learner.loss(params, KEY, episode, training=False), has_aux=True)(params)

    chex.assert_trees_all_close(run(params, weighed), run(params, repeated), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("low", [1e-3, 5.0])
def test_no_deviation_is_below_the_lowest_and_any_above_is_reached(x64, low):
    """In units of the targets: 0.1 is no law."""
    decoder = jmeta.from_functions(lambda key, x: jnp.zeros(2), lambda params, x: x[:, :2] * 0 + params[None])
    learner = jmeta.conditional_neural_processes(dense(3), decoder, lowest_deviation=low)
    params, found = made(learner, regression()), {"path": jnp.zeros(3)}
    for raw in (-1e3, -1.0, 0.0, 30.0):
        outputs = learner.predict(params | {"decoder": jnp.array([0.0, raw])}, found, regression().query.x)
        np.testing.assert_allclose(outputs.deviation, bounded(raw, low), rtol=1e-12)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("case", ["nothing in the support", "nothing in the query", "dead units", "one example", "bfloat16"])
def test_values_and_gradients_are_finite(name, case):
    learner, episode = LEARNERS[name], jax.tree.map(jnp.asarray, regression())
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), made(learner, regression()))
    support, query = episode.support, episode.query
    episode = {
        "nothing in the support": episode._replace(support=support._replace(mask=jnp.zeros(5, bool))),
        "nothing in the query": episode._replace(query=query._replace(mask=jnp.zeros(4, bool))),
        "one example": episode._replace(support=support._replace(mask=jnp.arange(5) == 2)),
        "bfloat16": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), episode),
    }.get(case, episode)
    for part in params.keys() - {"decoder"} if case == "dead units" else ():
        params[part] = jax.tree.map(jnp.zeros_like, params[part])
    (value, metrics), gradient = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(params, KEY, episode)
    chex.assert_tree_all_finite((value, metrics, gradient))
    assert (value == 0) == (optax.tree.norm(gradient) == 0) == (case == "nothing in the query")


def test_the_likelihood_is_that_of_scipy_and_the_divergence_a_mean_of_its_differences(x64):
    generator = np.random.default_rng(0)
    one, other = (jmeta.Gaussian(generator.normal(size=(1, 3)), generator.uniform(0.5, 2, size=(1, 3))) for _ in range(2))
    y = generator.normal(size=(1, 3))
    got = jmeta.gaussian_negative_log_likelihood(one, y)
    np.testing.assert_allclose(got, -norm.logpdf(y, one.mean, one.deviation), rtol=1e-12)
    ours, theirs = (multivariate_normal(part.mean[0], np.diag(part.deviation[0] ** 2)) for part in (one, other))
    drawn = ours.rvs(200_000, random_state=0)
    differences = ours.logpdf(drawn) - theirs.logpdf(drawn)
    np.testing.assert_allclose(divergence(one, other), differences.mean(), atol=5 * differences.std() / np.sqrt(200_000))
    assert divergence(one, one) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"y": np.zeros(5)}, r"y must hold rows of real numbers, \[n, k\], for a neural process; got float64\[5\]"),
        ({"y": np.zeros((5, 1), int)}, r"y must hold rows of real numbers, \[n, k\], for a neural process; got int64\[5, 1\]"),
        ({"y": np.zeros((5, 2))}, r"decoder must give 4 numbers for each row, means and deviations; got float32\[5, 2\]"),
        (
            {"weights": np.ones((5, 1))},
            r"weights of the support must be one per row, \[n\], .*; got \(5, 1\)",
        ),
    ],
)
def test_targets_that_are_no_rows_of_numbers_are_refused(change, sentence):
    episode = regression()
    with pytest.raises(ValueError, match=sentence):
        LEARNERS["conditional"].init(KEY, episode._replace(support=episode.support._replace(**change)))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"latent.head must give an even number of numbers for each row, .*; got float32\[1, 3\]"):
        jmeta.neural_processes(jmeta.EncoderHead(dense(3), dense(3)), dense(2)).init(KEY, regression())
    with pytest.raises(ValueError, match="lowest_deviation must be positive; got 0"):
        jmeta.conditional_neural_processes(dense(3), dense(2), lowest_deviation=0)
    with pytest.raises(ValueError, match="y must hold rows of real numbers"):
        LEARNERS["latent"].init(KEY, classification())
    outputs = jmeta.Gaussian(jnp.zeros((3, 1)), jnp.ones((3, 1)))
    with pytest.raises(ValueError, match=r"outputs and targets must have one shape; got \(3, 1\), \(3, 1\) and \(3,\)"):
        jmeta.gaussian_negative_log_likelihood(outputs, jnp.zeros(3))


@pytest.mark.parametrize("name", LEARNERS)
def test_weights_matter_relative_to_those_of_their_part(x64, name):
    """Those of the support relative to each other, those of the query likewise."""
    learner, episode = LEARNERS[name], regression()
    params, generator = made(learner, episode), np.random.default_rng(0)
    parts = [part._replace(weights=generator.uniform(0.5, 2, size=len(part.x))) for part in episode[:2]]
    weighed, scaled = (jmeta.Episode(parts[0], parts[1]._replace(weights=scale * parts[1].weights)) for scale in (1, 7))
    run = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))
    chex.assert_trees_all_close(run(params, KEY, scaled), run(params, KEY, weighed), rtol=1e-12, atol=1e-14)
