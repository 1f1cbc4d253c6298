"""Heads that a formula fits against scikit-learn and plain NumPy, and the learners over them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import jmeta
from jmeta import testing
from jmeta.metric_based import heads
from tests.metric_based.tasks import HARD, SCALES, WIDTH, as_type, task

KEY = jax.random.key(0)
WAYS = 3
LABELS = np.arange(12) % WAYS
MEMBERS = np.eye(WAYS)[LABELS]
LEARNERS = {
    "ridge": jmeta.ridge_regression(SCALES, regularization=2.0),
    "logistic": jmeta.logistic_regression(SCALES, regularization=2.0, num_steps=3),
    "mahalanobis": jmeta.mahalanobis_classifier(SCALES),
}


def features(width, seed=0, rows=12):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, width)) + MEMBERS[:rows] @ np.random.default_rng(9).normal(size=(WAYS, width))


@pytest.mark.parametrize("width", [4, 40])
def test_a_ridge_head_is_that_of_scikit_learn(x64, width):
    """By the system of features and by that of rows."""
    expected = Ridge(0.7, fit_intercept=False).fit(features(width), MEMBERS).coef_.T
    got = heads.ridge_head(jnp.asarray(features(width)), jnp.asarray(MEMBERS), regularization=0.7)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width", [4, 40])
def test_a_weighted_ridge_head_is_that_of_scikit_learn(x64, width):
    weights = np.linspace(0, 2, 12)
    relative = weights / weights[weights > 0].mean()
    expected = Ridge(0.7, fit_intercept=False).fit(features(width), MEMBERS, sample_weight=relative).coef_.T
    got = heads.ridge_head(jnp.asarray(features(width)), jnp.asarray(MEMBERS * weights[:, None]), regularization=0.7)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("width", [4, 40])
def test_a_logistic_head_ends_at_the_optimum_of_scikit_learn(x64, width):
    got = heads.logistic_head(jnp.asarray(features(width)), jnp.asarray(MEMBERS), regularization=0.5, num_steps=20)
    for way in range(WAYS):
        reference = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        reference.fit(features(width), way == LABELS)
        np.testing.assert_allclose(got[:, way], reference.coef_[0], atol=1e-6)


@pytest.mark.parametrize("width", [4, 40])
def test_one_step_of_a_logistic_head_is_newton_s(x64, width):
    """From 0, where every curvature is a quarter."""
    x = features(width)
    expected = np.linalg.solve(x.T @ x / 4 + 2.0 * np.eye(width), x.T @ (MEMBERS - 0.5))
    got = heads.logistic_head(jnp.asarray(x), jnp.asarray(MEMBERS), regularization=2.0, num_steps=1)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def distances(x, others, labels, ridge):
    """The paper's equations, class by class."""
    whole, found = np.cov(x.T), []
    for way in range(WAYS):
        rows = x[labels == way]
        own = np.cov(rows.T) if len(rows) > 1 else np.zeros_like(whole)
        share = len(rows) / (len(rows) + 1)
        inverse = np.linalg.inv(share * own + (1 - share) * whole + ridge * np.eye(x.shape[1]))
        found.append([(row - rows.mean(axis=0)) @ inverse @ (row - rows.mean(axis=0)) for row in others])
    return np.transpose(found)


@pytest.mark.parametrize("rows", [12, 10, 4])
def test_distances_of_mahalanobis_are_those_of_plain_numpy(x64, rows):
    """The last task has two classes of one shot, whose covariance is 0 and not the variance over features."""
    x, others = features(WIDTH, rows=rows), features(WIDTH, seed=5)
    head = heads.mahalanobis_head(jnp.asarray(x), jnp.asarray(MEMBERS[:rows]), regularization=0.5)
    np.testing.assert_allclose(
        heads.mahalanobis_distances(jnp.asarray(others), head), distances(x, others, LABELS[:rows], 0.5), rtol=1e-10
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_central_differences(x64, name):
    episode, learner = task(3), LEARNERS[name]
    testing.check_gradient(learner.loss, learner.init(KEY, episode), KEY, episode)


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("name", LEARNERS)
def test_hard_tasks_have_finite_losses_and_gradients(name, case):
    dtype = jnp.bfloat16 if case == "bfloat16" else jnp.float32
    learner = LEARNERS[name]
    params, episode = as_type(learner.init(KEY, as_type(task(0), jnp.float32)), dtype), as_type(HARD[case], dtype)
    (loss, metrics), gradient = jax.value_and_grad(learner.loss, has_aux=True)(params, KEY, episode)
    for leaf in jax.tree.leaves((loss, metrics, gradient)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("name", LEARNERS)
def test_equal_examples_of_a_large_scale_have_finite_losses_and_gradients(name):
    """Where float32 rounds the matrix that is solved with by more than the ridge."""
    episode = as_type(HARD["equal examples"], jnp.float32)
    large = episode._replace(
        support=episode.support._replace(x=1e4 * episode.support.x), query=episode.query._replace(x=1e4 * episode.query.x)
    )
    params = LEARNERS[name].init(KEY, large)
    (loss, _), gradient = jax.value_and_grad(LEARNERS[name].loss, has_aux=True)(params, KEY, large)
    for leaf in jax.tree.leaves((loss, gradient)):
        assert jnp.isfinite(leaf).all()


def test_gaussians_of_a_large_scale_are_finite():
    x = jnp.asarray(1e5 * features(20), jnp.float32)
    assert jnp.isfinite(heads.mahalanobis_head(x, jnp.asarray(MEMBERS, jnp.float32)).factors).all()


def test_predictions_are_those_of_the_head(x64):
    episode = task(1)
    members = np.eye(4)[episode.support.y]
    x, others = jnp.asarray(episode.support.x), jnp.asarray(episode.query.x)
    gaussians = heads.mahalanobis_head(x, jnp.asarray(members))
    expected = {
        "ridge": others @ heads.ridge_head(x, jnp.asarray(members), regularization=2.0),
        "logistic": 10 * others @ heads.logistic_head(x, jnp.asarray(members), regularization=2.0, num_steps=3),
        "mahalanobis": -heads.mahalanobis_distances(others, gaussians),
    }
    for name, learner in LEARNERS.items():
        params = learner.init(KEY, episode)
        adapted = learner.adapt(params, KEY, episode.support, classes=jnp.asarray(episode.classes))
        np.testing.assert_allclose(learner.predict(params, adapted, others), expected[name], rtol=1e-8)


def test_the_strength_of_a_ridge_is_learnt(x64):
    """A step against its gradient lowers the loss of the query."""
    episode, learner = task(2), LEARNERS["ridge"]
    params = learner.init(KEY, episode)
    loss, gradient = jax.value_and_grad(lambda params: learner.loss(params, KEY, episode)[0])(params)
    assert abs(gradient["head"]["log_regularization"]) > 1e-3
    only = jax.tree.map(jnp.zeros_like, gradient)
    only["head"]["log_regularization"] = gradient["head"]["log_regularization"]
    assert learner.loss(optax.tree.add_scale(params, -0.01, only), KEY, episode)[0] < loss


SUM = jmeta.from_functions(lambda key, x: jnp.ones(()), lambda params, x: x.sum(axis=1) * params)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: jmeta.ridge_regression(SCALES, regularization=0.0), "regularization must be positive"),
        (lambda: jmeta.logistic_regression(SCALES, num_steps=0), "num_steps must be"),
        (lambda: jmeta.mahalanobis_classifier(None), "encoder must be a Model"),
        (lambda: jmeta.ridge_regression(SUM).init(KEY, task(0)), "encoder must give one vector"),
        (lambda: heads.ridge_head(jnp.ones((3, 2)), jnp.ones((4, 2)), regularization=1.0), "features and members must be"),
    ],
)
def test_bad_input_gets_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()
