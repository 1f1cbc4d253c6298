"""Merging of fine-tuned networks against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import transfer
from tests.transfer.networks import KEY, layer, rows

NAMES = ("bias", "kernel")


def trees(count=3, seed=0):
    random = np.random.default_rng(seed)
    return [{"bias": random.normal(size=3), "kernel": random.normal(size=(4, 3))} for _ in range(count)]


def on_device(given):
    return jax.tree.map(jnp.asarray, given)


def flat(tree):
    return np.concatenate([np.ravel(tree[name]) for name in NAMES])


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(flat(found), expected, rtol=tolerance, atol=1e-14)


BASE, MODELS = trees(1, seed=1)[0], trees()
WAYS = np.stack([flat(model) - flat(BASE) for model in MODELS])


def test_averages_are_weighted_means(x64):
    stacked = np.stack([*map(flat, MODELS)])
    close(transfer.weight_average(on_device(MODELS)), stacked.mean(axis=0))
    close(transfer.weight_average(on_device(MODELS), [1, 0, 3]), np.average(stacked, axis=0, weights=[1, 0, 3]))


def test_task_arithmetic_adds_up_what_has_changed(x64):
    close(transfer.task_arithmetic(on_device(BASE), on_device(MODELS), scale=0.4), flat(BASE) + 0.4 * WAYS.sum(axis=0))
    close(transfer.task_arithmetic(on_device(BASE), on_device(MODELS[:1]), scale=1.0), flat(MODELS[0]))


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_the_loop_over_parameters(x64, density):
    kept = round(density * WAYS.shape[1])
    expected = flat(BASE).copy()
    trimmed = [np.where(np.argsort(np.argsort(-np.abs(way))) < kept, way, 0) for way in WAYS]
    totals = np.sum(trimmed, axis=0)
    for at, total in enumerate(totals):
        sign = np.sign(total) or np.sign(np.sign(totals).sum())
        agreeing = [way[at] for way in trimmed if way[at] * sign > 0]
        expected[at] += 0.7 * (np.mean(agreeing) if agreeing else 0)
    close(transfer.ties_merging(on_device(BASE), on_device(MODELS), density=density, scale=0.7), expected)


def test_ties_where_signs_are_even_goes_with_the_whole(x64):
    ways = np.array([[1.0, 2.0, 3.0], [-1.0, 2.0, 0.0]])
    found = transfer.ties_merging(jnp.zeros(3), [jnp.asarray(way) for way in ways], density=1.0)
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0], rtol=1e-12)


def test_dare_drops_a_share_and_keeps_the_mean(x64):
    base = {"bias": jnp.zeros(3), "kernel": jnp.ones((200, 50))}
    model = {"bias": jnp.ones(3), "kernel": jnp.full((200, 50), 2.0)}
    first, second = transfer.dare(base, [model, model], KEY, drop=0.75)
    way = np.asarray(first["kernel"] - base["kernel"])
    assert sorted(set(way.ravel().tolist())) == [0.0, 4.0]
    # Of 10,000 draws the share of those kept has a standard deviation of 0.0043.
    assert abs((way > 0).mean() - 0.25) < 0.015
    assert not np.array_equal(first["kernel"], second["kernel"])
    chex.assert_trees_all_close(transfer.dare(base, [model], KEY, drop=0.0)[0], model, rtol=1e-12)


def test_fisher_merging_weighs_each_parameter(x64):
    information = [{name: leaf**2 for name, leaf in tree.items()} for tree in trees(seed=2)]
    information[0]["bias"] = np.zeros(3)
    shares = np.array([2.0, 1.0, 0.5])[:, None] * np.maximum([flat(tree) for tree in information], 1e-3)
    expected = (shares * [flat(model) for model in MODELS]).sum(axis=0) / shares.sum(axis=0)
    close(transfer.fisher_merging(on_device(MODELS), on_device(information), [2.0, 1.0, 0.5], floor=1e-3), expected)


def test_what_matters_to_nobody_is_averaged(x64):
    nothing = [jax.tree.map(jnp.zeros_like, on_device(model)) for model in MODELS]
    close(transfer.fisher_merging(on_device(MODELS), nothing), np.mean([flat(model) for model in MODELS], axis=0))


def test_the_fisher_information_of_a_linear_classifier_is_known(x64):
    """Of the logit j of x W: the mean over x of x_i^2 p_j (1 - p_j)."""
    model, x = layer(3), rows(4)
    params = model.init(KEY, x)
    shares = np.asarray(jax.nn.softmax(model.apply(params, x)))
    spread = shares * (1 - shares)
    found = transfer.fisher_information(model, params, x)
    np.testing.assert_allclose(found["bias"], spread.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(found["kernel"], (np.asarray(x) ** 2).T @ spread / len(x), rtol=1e-10)


@pytest.mark.parametrize("off_diagonal", [1.0, 0.1])
def test_regmean_is_the_regression_on_all_inputs(x64, off_diagonal):
    """Plain, it is the least-squares solution of all models' own outputs."""
    random = np.random.default_rng(3)
    inputs = [random.normal(size=(20, 4)) for _ in MODELS]
    gramians = [x.T @ x for x in inputs]
    found = transfer.regmean(
        on_device(MODELS), [{"bias": None, "kernel": jnp.asarray(gramian)} for gramian in gramians], off_diagonal=off_diagonal
    )
    if off_diagonal == 1:
        wanted = np.concatenate([x @ model["kernel"] for x, model in zip(inputs, MODELS, strict=True)])
        expected = np.linalg.lstsq(np.concatenate(inputs), wanted)[0]
    else:
        shrunk = [gramian * np.where(np.eye(4), 1, 0.1) for gramian in gramians]
        expected = np.linalg.solve(sum(shrunk), sum(one @ model["kernel"] for one, model in zip(shrunk, MODELS, strict=True)))
    np.testing.assert_allclose(found["kernel"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], np.mean([model["bias"] for model in MODELS], axis=0), rtol=1e-12)


def test_regmean_averages_the_rows_of_inputs_that_are_never_there():
    gramian = jnp.diag(jnp.array([1.0, 2.0, 0.0, 3.0]))
    found = transfer.regmean(on_device(MODELS), [{"bias": None, "kernel": gramian}] * 3)
    np.testing.assert_allclose(found["kernel"], np.mean([model["kernel"] for model in MODELS], axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "merge",
    [
        transfer.weight_average,
        lambda models: transfer.task_arithmetic(models[0], models),
        lambda models: transfer.ties_merging(models[0], models),
        lambda models: transfer.dare(models[0], models, KEY)[1],
        lambda models: transfer.fisher_merging(models, models),
        lambda models: transfer.regmean(models, [{"bias": None, "kernel": jnp.eye(4)}] * len(models)),
    ],
    ids=["average", "arithmetic", "ties", "dare", "fisher", "regmean"],
)
def test_trees_keep_their_types_and_other_structures_are_refused(merge):
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), MODELS)
    chex.assert_trees_all_equal_shapes_and_dtypes(merge(half), half[0])
    wider = {"bias": np.ones(3), "kernel": np.ones((4, 5))}
    with pytest.raises(
        ValueError, match=r"models must have the structure and shapes of .*; got models\[1\] with \w+\[4, 5\] at kernel"
    ):
        merge([MODELS[0], wider])
    with pytest.raises(ValueError, match=r"got models\[2\] with or without kernel, weight"):
        merge([MODELS[0], MODELS[1], {"bias": np.ones(3), "weight": np.ones((4, 3))}])


def test_bad_input_is_refused():
    models = on_device(MODELS)
    for given in ([], {"a": 1}):
        with pytest.raises(ValueError, match="models must be a sequence of at least one parameter tree; got"):
            transfer.weight_average(given)
    for weights in ([1.0], [1.0, -1.0, 1.0], [0.0] * 3, [1.0, np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights must be one number of at least 0 for each of 3 models, not all 0"):
            transfer.weight_average(models, weights)
    with pytest.raises(ValueError, match="density must be above 0 and at most 1; got 0"):
        transfer.ties_merging(models[0], models, density=0)
    with pytest.raises(ValueError, match="drop must be at least 0 and below 1; got 1"):
        transfer.dare(models[0], models, KEY, drop=1)
    with pytest.raises(ValueError, match="information must be that of each of 3 models; got 2"):
        transfer.fisher_merging(models, models[:2])
    with pytest.raises(ValueError, match="gramians must be those of each of 3 models; got 1"):
        transfer.regmean(models, [{}])
    with pytest.raises(ValueError, match=r"gramians must be \[in, in\] for the kernel kernel \(4, 3\)"):
        transfer.regmean(models, [{"bias": None, "kernel": jnp.eye(3)}] * 3)
    with pytest.raises(ValueError, match="gramians must be trees like the parameters"):
        transfer.regmean(models, [{"kernel": jnp.eye(4)}] * 3)
