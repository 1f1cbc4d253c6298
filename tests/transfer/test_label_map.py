"""Labels and logits between fine classes and coarse ones."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jmeta import testing, transfer
from jmeta.transfer import Taught
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
PARENTS = [1, 0, 1, 2, 1]
MAP = transfer.label_map(PARENTS)
MEMBERS = np.equal.outer(PARENTS, range(3))
SHARES = np.array([1.0, 2.0, 3.0, 0.5, 4.0])


def softmax(logits):
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_coarse_probabilities_are_sums_of_fine_ones(x64):
    logits = 3 * rows(2, 5)
    found = jax.jit(MAP.coarse_logits)(logits)
    np.testing.assert_allclose(np.exp(found), softmax(np.asarray(logits)) @ MEMBERS, rtol=1e-10)
    np.testing.assert_allclose(jax.jit(MAP.coarse_logits)(jnp.log(softmax(np.asarray(logits)))), found, rtol=1e-10)


@pytest.mark.parametrize("shares", [None, SHARES], ids=["alike", "unlike"])
def test_coarse_probabilities_are_spread_over_fine_ones_and_come_back(x64, shares):
    spread = transfer.label_map(PARENTS, shares=shares)
    weights = MEMBERS * (np.ones(5) if shares is None else shares)[:, None]
    within = (weights / weights.sum(axis=0)).T
    logits = 3 * rows(2, 3)
    fine = jax.jit(spread.fine_logits)(logits)
    np.testing.assert_allclose(np.exp(fine), softmax(np.asarray(logits)) @ within, rtol=1e-10)
    np.testing.assert_allclose(np.exp(jax.jit(spread.coarse_logits)(fine)), softmax(np.asarray(logits)), rtol=1e-10)
    np.testing.assert_allclose(jax.jit(spread.fine_shares)(jnp.arange(3)), within, rtol=1e-10)


def test_labels_of_fine_classes_become_those_of_coarse_ones():
    """What is no class has no counterpart, in any type of label and with any number of axes."""
    labels = np.array([[0, 1, 2], [3, 4, 4]])
    np.testing.assert_array_equal(jax.jit(MAP.coarse_labels)(labels), [[1, 0, 1], [2, 1, 1]])
    np.testing.assert_array_equal(jax.jit(MAP.coarse_labels)(np.array([-1, 5, 7, -6, 3])), [-1, -1, -1, -1, 2])
    np.testing.assert_array_equal(MAP.coarse_labels(np.array([255, 4, 5], np.uint8)), [-1, 1, -1])
    np.testing.assert_array_equal(MAP.fine_shares(np.array([-1, 3, 2])), [[0] * 5, [0] * 5, [0, 0, 0, 1, 0]])
    many = transfer.label_map(np.arange(300))
    np.testing.assert_array_equal(many.coarse_labels(np.array([255, 127], np.uint8)), [255, 127])


def test_logits_are_restricted_to_what_a_coarse_label_allows(x64):
    logits, labels = rows(5, count=4), jnp.array([0, 1, 2, -1])
    found = softmax(np.asarray(jax.jit(MAP.restrict)(logits, labels)))
    allowed = np.concatenate([MEMBERS.T, np.ones((1, 5))])
    shares = softmax(np.asarray(logits)) * allowed
    np.testing.assert_allclose(found, shares / shares.sum(axis=1, keepdims=True), rtol=1e-10)
    far = MAP.restrict(jnp.array([[1e30, -1e30, 1e30, 1e30, 1e30]]), jnp.array([0]))
    np.testing.assert_array_equal(jax.nn.softmax(far), [[0, 1, 0, 0, 0]])


def test_improbable_classes_have_a_logarithm_and_a_gradient():
    """In float32, where a sum of their probabilities is 0."""
    logits = jnp.array([[0.0, -500.0, -1.0, -800.0, 2.0], [0.0, -1e30, 0.0, -3e38, 0.0]])
    for loss in (lambda logits: MAP.coarse_logits(logits).sum(), lambda logits: MAP.fine_logits(MAP.coarse_logits(logits)).sum()):
        value, slope = jax.jit(jax.value_and_grad(loss))(logits)
        chex.assert_tree_all_finite((value, slope))
    found = MAP.coarse_logits(logits)
    np.testing.assert_allclose(
        found[0, [0, 2]] - found[0, 1], np.array([-500, -800]) - np.log(1 + np.exp(-1) + np.exp(2)), rtol=1e-6
    )
    assert MAP.coarse_logits(logits.astype(jnp.bfloat16)).dtype == jnp.float32
    np.testing.assert_allclose(MAP.coarse_logits(np.asarray(logits, np.float64)), found, rtol=1e-6)


def test_a_network_of_fine_classes_learns_from_coarse_labels(x64):
    data, model = labelled(), layer(5)
    objective = transfer.supervised(model, lambda outputs, labels: CROSS_ENTROPY(MAP.coarse_logits(outputs), labels))
    params = model.init(KEY, data.x)
    probabilities = softmax(np.asarray(model.apply(params, data.x))) @ MEMBERS
    expected = -np.log(probabilities[np.arange(8), data.y]).mean()
    np.testing.assert_allclose(jax.jit(objective)(params, KEY, data)[0], expected, rtol=1e-10)
    testing.check_gradient(objective, params, KEY, data, tolerance=1e-7)


def test_a_teacher_of_fine_classes_teaches_a_student_of_coarse_ones(x64):
    data, student = labelled(), layer(3)
    logits, params = rows(5, seed=4), student.init(KEY, labelled().x)
    objective = transfer.distillation(student, CROSS_ENTROPY, temperature=1.0, share=1.0)
    value, _ = jax.jit(objective)(params, KEY, data._replace(y=Taught(data.y, MAP.coarse_logits(logits))))
    wanted, now = softmax(np.asarray(logits)) @ MEMBERS, softmax(np.asarray(student.apply(params, data.x)))
    np.testing.assert_allclose(value, (wanted * np.log(wanted / now)).sum(axis=1).mean(), rtol=1e-10)


def test_a_map_by_names_of_classes_is_that_of_their_order():
    assert transfer.label_map({2: 1, 0: 1, 1: 0, 4: 1, 3: 2}, fine=5, coarse=3).parents.tolist() == PARENTS


REFUSED = {
    r"parents must give each fine class 0, ..., 3 its coarse one; got none for 2": ({0: 0, 1: 0, 3: 1}, {}),
    r"parents must give each fine class 0, ..., 4 its coarse one; got none for 3": ({0: 0, 1: 0, 2: 1}, {"fine": 5}),
    r"parents must give each fine class 0, ..., 1 its coarse one; got one for 2": ({0: 0, 1: 0, 2: 1}, {"fine": 2}),
    r"parents must give each fine class 0, ..., 0 its coarse one; got one for a": ({0: 0, "a": 1}, {"fine": 1}),
    r"parents must give each of 5 fine classes its coarse one; got 3": ([0, 1, 1], {"fine": 5}),
    r"parents must give each coarse class 0, ..., 3 a fine one; got none for 1": ([0, 2, 3], {}),
    r"parents must give each coarse class 0, ..., 4 a fine one; got none for 3": ([0, 2, 1], {"coarse": 5}),
    r"parents must hold coarse classes 0, ..., 1; got 2": ([0, 1, 2], {"coarse": 2}),
    r"parents must hold coarse classes 0, ..., 1; got -1": ([0, 1, -1], {}),
    r"parents must be integers, \[fine\] or \{fine: coarse\}; got float64\[2\]": ([0.0, 1.0], {}),
    r"parents must be integers, \[fine\] or \{fine: coarse\}; got int64\[2, 1\]": ([[0], [1]], {}),
    r"parents must be integers, \[fine\] or \{fine: coarse\}; got float64\[0\]": ({}, {}),
    r"coarse must be a whole number of at least 1; got 0": ([0, 1], {"coarse": 0}),
    r"shares must be a positive number for each of 2 fine classes; got \[1.0, 0.0\]": ([0, 1], {"shares": [1.0, 0.0]}),
    r"shares must be a positive number for each of 2 fine classes; got \[1.0\]": ([0, 1], {"shares": [1.0]}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_map_that_leaves_a_class_out_is_refused(sentence):
    parents, options = REFUSED[sentence]
    with pytest.raises(ValueError, match=f"^{sentence}"):
        transfer.label_map(parents, **options)


def test_logits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"logits must have one entry for each of 5 fine classes; got float32\[8, 3\]"):
        MAP.coarse_logits(rows(3))
    with pytest.raises(ValueError, match=r"logits must have one entry for each of 5 fine classes; got float32\[8, 4\]"):
        MAP.restrict(rows(4), jnp.zeros(8, int))
    with pytest.raises(ValueError, match=r"logits must have one entry for each of 3 coarse classes; got float32\[8, 5\]"):
        MAP.fine_logits(rows(5))
    for function in (MAP.coarse_labels, MAP.fine_shares):
        with pytest.raises(ValueError, match=r"labels must be integers; got float32\[2\]"):
            function(jnp.ones(2))
