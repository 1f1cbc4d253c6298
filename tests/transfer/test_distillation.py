"""Learning what a teacher says: of a set once, of each batch as it comes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, testing, transfer
from jmeta.transfer import Taught
from tests.transfer.networks import KEY, labelled, layer, rows

CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels
STUDENT, TEACHER = layer(3), jmeta.compose(layer(6, jnp.tanh), layer(3))
WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0, 1.0])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def taught(data, seed=3):
    """A batch, and what a network of other parameters says of it."""
    params = TEACHER.init(jax.random.key(seed), data.x)
    return data._replace(y=Taught(data.y, TEACHER.apply(params, data.x))), params


def noisy(seen):
    """A teacher that says something else when it is given a key, and notes each call."""

    def apply(params, x, *, key=None, mask=None):
        seen.append(key)
        outputs = TEACHER.apply(params, x)
        return outputs if key is None else outputs + jax.random.normal(key, outputs.shape)

    return TEACHER._replace(apply=apply)


@pytest.mark.parametrize(("temperature", "share"), [(4.0, 0.9), (1.0, 0.5), (2.5, 1.0), (3.0, 0.0)])
def test_it_is_the_mean_of_cross_entropy_and_a_divergence_of_softened_logits(x64, temperature, share):
    """And so are its gradients: with respect to the logits they are differences of probabilities."""
    (data, _), params = taught(labelled()._replace(weights=WEIGHTS)), STUDENT.init(KEY, labelled().x)
    objective = transfer.distillation(STUDENT, CROSS_ENTROPY, temperature=temperature, share=share)
    (value, metrics), slope = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, KEY, data)
    x, (labels, teacher) = np.asarray(data.x), jax.tree.map(np.asarray, data.y)
    logits = x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    task = np.average(-log_softmax(logits)[np.arange(8), labels], weights=WEIGHTS)
    soft, wanted = log_softmax(logits / temperature), log_softmax(teacher / temperature)
    divergence = (np.exp(wanted) * (wanted - soft)).sum(axis=1).mean()
    np.testing.assert_allclose(value, (1 - share) * task + share * temperature**2 * divergence, rtol=1e-10)
    np.testing.assert_allclose(metrics["imitation"], temperature**2 * divergence, rtol=1e-10)
    hard = (np.exp(log_softmax(logits)) - np.eye(3)[labels]) * WEIGHTS[:, None] / WEIGHTS.sum()
    errors = (1 - share) * hard + share * temperature * (np.exp(soft) - np.exp(wanted)) / 8
    np.testing.assert_allclose(slope["kernel"], x.T @ errors, rtol=1e-9, atol=1e-12)


def test_at_high_temperatures_logits_are_regressed_as_the_paper_says(x64):
    """The gradient is that of half the squared differences of centred logits over the classes."""
    (data, _), params = taught(labelled()), STUDENT.init(KEY, labelled().x)
    slopes = []
    for loss in (
        transfer.distillation(STUDENT, CROSS_ENTROPY, temperature=1e7, share=1.0),
        transfer.supervised(STUDENT, lambda outputs, y: jnp.square(centred(outputs) - centred(y.logits)).sum(axis=-1) / 2 / 3),
    ):
        slopes.append(jax.jit(jax.grad(lambda params, loss=loss: loss(params, KEY, data)[0]))(params))
    # The next term of the expansion is 1e-7 as large.
    chex.assert_trees_all_close(*slopes, rtol=1e-5, atol=1e-8)


def centred(logits):
    return logits - logits.mean(axis=-1, keepdims=True)


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(x64):
    data, params = taught(labelled())
    objective = transfer.distillation(TEACHER, CROSS_ENTROPY, share=1.0)
    value, slope = jax.jit(jax.value_and_grad(lambda params: objective(params, KEY, data)[0]))(params)
    np.testing.assert_allclose(value, 0, atol=1e-14)
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(slope)) < 1e-14


def test_gradients_agree_with_central_differences(x64):
    data, _ = taught(labelled())
    objective = transfer.distillation(STUDENT, CROSS_ENTROPY)
    testing.check_gradient(objective, STUDENT.init(KEY, data.x), KEY, data, tolerance=1e-7)


def test_examples_without_labels_are_learnt_too():
    """Of weight 0, or without any at all."""
    (data, _), params = taught(labelled()), STUDENT.init(KEY, labelled().x)
    without = data._replace(y=Taught(jnp.full(8, -7), data.y.logits), weights=jnp.zeros(8))
    value, metrics = jax.jit(transfer.distillation(STUDENT, CROSS_ENTROPY, share=0.25))(params, KEY, without)
    none = data._replace(y=Taught(None, data.y.logits))
    alone, _ = jax.jit(transfer.distillation(STUDENT, CROSS_ENTROPY, share=1.0))(params, KEY, none)
    assert metrics["task_loss"] == 0
    assert alone > 0
    np.testing.assert_allclose(value, 0.25 * alone, rtol=1e-6)


def test_maps_of_logits_are_learnt_pixel_by_pixel(x64):
    x, y = rows(2, 2, 4, count=3), jnp.zeros((3, 2, 2), int)
    params, teacher = STUDENT.init(KEY, x), STUDENT.init(jax.random.key(3), x)
    objective = transfer.distillation(STUDENT, CROSS_ENTROPY)
    whole, _ = jax.jit(objective)(params, KEY, Batch(x, Taught(y, STUDENT.apply(teacher, x))))
    pixels = x.reshape(12, 4)
    flat, _ = jax.jit(objective)(params, KEY, Batch(pixels, Taught(y.reshape(12), STUDENT.apply(teacher, pixels))))
    np.testing.assert_allclose(whole, flat, rtol=1e-12)


def test_half_precision_is_compared_in_float32():
    data, _ = taught(labelled())
    params = STUDENT.init(KEY, data.x)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, data._replace(y=data.y.logits)))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half)
    objective = jax.jit(transfer.distillation(STUDENT, CROSS_ENTROPY, share=1.0))
    values = [objective(weights, KEY, batch._replace(y=Taught(None, batch.y)))[0] for weights, batch in (half, wide)]
    assert values[0].dtype == jnp.float32
    # The student's own product is rounded to 8 bits, relative to logits of about 1.
    np.testing.assert_allclose(*values, atol=3e-2)


# --- the teacher ------------------------------------------------------------------------------------------------------------------


def test_the_logits_of_a_set_are_asked_for_once_and_are_those_of_the_batches(x64):
    """Rows that are left over and rows that are masked included; labels, weights and masks stay."""
    data, seen = labelled(count=7)._replace(weights=np.arange(7.0), mask=np.arange(7) != 2), []
    _, params = taught(data)
    x = np.where(np.arange(7)[:, None] == 2, np.nan, data.x)
    found = transfer.teach(noisy(seen), params, data._replace(x=x), batch_size=3)
    assert seen == [None]
    assert found.y.labels is data.y
    assert found.mask is data.mask
    assert found.weights is data.weights
    real = np.asarray(data.mask)
    np.testing.assert_allclose(found.y.logits[real], TEACHER.apply(params, data.x)[real], rtol=1e-12)
    assert np.isfinite(found.y.logits).all()
    again = transfer.teach(noisy(seen), params, data._replace(x=x), batch_size=7)
    np.testing.assert_allclose(again.y.logits, found.y.logits, rtol=1e-12)


def test_a_teacher_that_mixes_rows_sees_the_real_ones_alone(x64):
    """Its masked rows are filled, so that a product with the mask is enough; and the step of training goes on to the objective."""

    def apply(params, x, *, key=None, mask=None):
        real = jnp.ones(len(x)) if mask is None else mask.astype(float)
        return TEACHER.apply(params, x - (real @ x / real.sum())[None])

    def graded(params, key, batch, *, step=0):
        value = jnp.where(batch.mask, jnp.square(batch.y.logits).sum(axis=1), 0).sum() * step
        return value, {"loss": value}

    data, mixing = labelled(), TEACHER._replace(apply=apply)
    _, params = taught(data)
    x, mask = data.x.at[5:].set(jnp.nan), np.arange(8) < 5
    objective = transfer.taught_by(graded, mixing, params)
    value, _ = jax.jit(objective.loss)({}, KEY, Batch(x, data.y, mask), params, step=3)
    np.testing.assert_allclose(value, 3 * jnp.square(apply(params, data.x[:5])).sum(), rtol=1e-12)
    found = transfer.teach(mixing, params, Batch(x, data.y, mask))
    np.testing.assert_allclose(found.y.logits[:5], apply(params, data.x[:5]), rtol=1e-12)


def test_it_is_in_training_mode_and_honours_the_mask():
    seen = []

    def apply(params, x, *, key=None, mask=None):
        seen.append((key, mask))
        return STUDENT.apply(params, x)

    (data, _), mask = taught(labelled()), jnp.ones(8, bool)
    objective = transfer.distillation(STUDENT._replace(apply=apply), CROSS_ENTROPY)
    objective(STUDENT.init(KEY, data.x), KEY, data._replace(mask=mask))
    assert seen == [(KEY, mask)]


def test_bytes_are_what_they_are_in_training():
    images = np.arange(32, dtype=np.uint8).reshape(8, 4)
    _, params = taught(labelled())
    found = transfer.teach(TEACHER, params, Batch(images, np.zeros(8, int)))
    drawn = jmeta.minibatches(found.x, found.y, 8)
    batch = drawn.sample(drawn.data, KEY)
    np.testing.assert_allclose(TEACHER.apply(params, batch.x), batch.y.logits, rtol=1e-5)


def test_a_teacher_of_each_batch_runs_once_has_no_gradient_and_sees_no_key(x64):
    """And is as if its logits had come with the data."""
    (data, teacher), params, seen = taught(labelled()), STUDENT.init(KEY, labelled().x), []
    plain = transfer.distillation(STUDENT, CROSS_ENTROPY)
    objective = transfer.taught_by(plain, noisy(seen), teacher)
    memory = objective.init(params, KEY)

    @jax.jit
    def differentiate(params, memory, key):
        return jax.value_and_grad(objective.loss, argnums=(0, 3), has_aux=True)(params, key, labelled(), memory)

    (value, (metrics, kept)), (slope, of_teacher) = differentiate(params, memory, KEY)
    other = differentiate(params, memory, jax.random.key(7))
    assert seen == [None]
    chex.assert_trees_all_equal(((value, (metrics, kept)), (slope, of_teacher)), other)
    chex.assert_trees_all_equal(kept, teacher)
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_teacher))
    (alone, _), expected = jax.jit(jax.value_and_grad(plain, has_aux=True))(params, KEY, data)
    chex.assert_trees_all_close((value, slope), (alone, expected), rtol=1e-12)
    of_logits = jax.grad(lambda logits: plain(params, KEY, data._replace(y=data.y._replace(logits=logits)))[0])(data.y.logits)
    assert not of_logits.any()


def test_a_teacher_is_an_argument_of_the_compiled_step_and_stays_as_it_is():
    """It is neither a constant of the program nor moved by weight decay."""
    wide = jmeta.compose(layer(500, jnp.tanh), layer(3))
    teacher, data = wide.init(KEY, labelled().x), labelled()
    objective = transfer.taught_by(transfer.distillation(STUDENT, CROSS_ENTROPY), wide, teacher)
    optimizer = optax.adamw(0.05, weight_decay=0.1)
    state = jmeta.init_state(STUDENT.init(KEY, data.x), optimizer, KEY, objective=objective)
    step = jax.jit(jmeta.make_step(objective, optimizer))
    assert len(step.lower(state, data).as_text()) < 4 * sum(leaf.nbytes for leaf in jax.tree.leaves(teacher))
    losses = []
    for _ in range(40):
        state, metrics = step(state, data)
        losses.append(metrics["imitation"])
    assert losses[-1] < 0.3 * losses[0]
    chex.assert_trees_all_equal(state.memory, teacher)


def test_bad_input_is_refused():
    for model, build in ((1, transfer.distillation), (None, lambda model, _: transfer.taught_by(None, model, {}))):
        with pytest.raises(ValueError, match=r"(student|teacher) must be a Model; got (int|NoneType)"):
            build(model, CROSS_ENTROPY)
    with pytest.raises(ValueError, match="teacher must be a Model; got str"):
        transfer.teach("teacher", {}, labelled())
    with pytest.raises(ValueError, match=r"temperature must be positive; got 0"):
        transfer.distillation(STUDENT, CROSS_ENTROPY, temperature=0)
    with pytest.raises(ValueError, match=r"share must be from 0 to 1; got 1.5"):
        transfer.distillation(STUDENT, CROSS_ENTROPY, share=1.5)
    objective, data = transfer.distillation(STUDENT, CROSS_ENTROPY), labelled()
    params = STUDENT.init(KEY, data.x)
    with pytest.raises(ValueError, match=r"y must be Taught\(labels, logits\), such as jmeta.transfer.teach gives; got Array"):
        objective(params, KEY, data)
    with pytest.raises(ValueError, match=r"y.labels must hold the labels of the task, which are learnt too; got None"):
        objective(params, KEY, data._replace(y=Taught(None, jnp.zeros((8, 3)))))
    for logits in (jnp.zeros((8, 4)), jnp.zeros((8, 1, 3)), {"a": jnp.zeros((8, 3))}):
        with pytest.raises(ValueError, match=r"the teacher must give what student gives, float32\[8, 3\]; got float32"):
            objective(params, KEY, data._replace(y=Taught(data.y, logits)))
    with pytest.raises(ValueError, match=r"data.x and data.y must have one row per example"):
        objective(params, KEY, data._replace(y=Taught(data.y, jnp.zeros((7, 3)))))
    one = transfer.distillation(layer(1), CROSS_ENTROPY)
    with pytest.raises(ValueError, match=r"student must give logits \[n, ..., classes\] of at least 2 classes"):
        one(layer(1).init(KEY, data.x), KEY, data._replace(y=Taught(data.y, jnp.zeros((8, 1)))))
