"""Hard parameter sharing between a regression and a classification of different sizes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import aggregation, testing

KEY = jax.random.key(0)


def linear(features, activation=lambda x: x):
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: activation(x @ params),
    )


cross_entropy = optax.softmax_cross_entropy_with_integer_labels
MODEL = jmeta.hard_parameter_sharing(
    linear(4, jnp.tanh),
    {"pose": jmeta.Task(linear(2), jmeta.squared_error), "kind": jmeta.Task(linear(3), cross_entropy)},
)


def data():
    keys = jax.random.split(KEY, 3)
    return {
        "pose": jmeta.Batch(jax.random.normal(keys[0], (5, 3)), jax.random.normal(keys[1], (5, 2))),
        "kind": jmeta.Batch(jax.random.normal(keys[2], (7, 3)), jnp.arange(7) % 3),
    }


def by_hand(params, batches):
    """The two losses, written out."""
    pose, kind = batches["pose"], batches["kind"]
    squares = jnp.square(jnp.tanh(pose.x @ params.encoder) @ params.head["pose"].head - pose.y).mean()
    logits = jax.nn.log_softmax(jnp.tanh(kind.x @ params.encoder) @ params.head["kind"].head)
    return {"pose": squares, "kind": -logits[jnp.arange(len(kind.y)), kind.y].mean()}


def test_gradient_of_the_mixture_agrees_with_central_differences(x64):
    params = MODEL.init(KEY, data())
    testing.check_gradient(jmeta.mixture(MODEL.objectives, {"kind": 0.3}), params, KEY, data(), tolerance=1e-6)


def test_each_task_has_its_own_head_loss_and_batch_size(x64):
    params = MODEL.init(KEY, data())
    assert params.encoder.shape == (3, 4)
    assert {name: part.head.shape for name, part in params.head.items()} == {"pose": (4, 2), "kind": (4, 3)}
    expected = by_hand(params, data())
    for name, objective in MODEL.objectives.items():
        np.testing.assert_allclose(objective(params, KEY, data()[name])[0], expected[name], rtol=1e-12)
    losses, _ = jmeta.task_losses(MODEL.objectives)(params, KEY, data())
    np.testing.assert_allclose(losses, [expected["kind"], expected["pose"]], rtol=1e-12)


def test_task_gradients_are_those_of_the_tasks_alone_with_zeros_for_the_other_head(x64):
    params = MODEL.init(KEY, data())
    _, gradients = jax.jit(jmeta.task_gradients(MODEL.objectives))(params, KEY, data())
    for row, name in enumerate(["kind", "pose"]):
        expected = jax.grad(lambda params: by_hand(params, data())[name])(params)  # noqa: B023
        got = jax.tree.map(lambda leaf: leaf[row], gradients)  # noqa: B023
        chex.assert_trees_all_close(got, expected, rtol=1e-10, atol=1e-14)
    assert not gradients.head["pose"].head[0].any()
    assert not gradients.head["kind"].head[1].any()


def test_joint_losses_are_those_of_the_tasks_on_their_common_input(x64):
    params = MODEL.init(KEY, data())
    x, y = data()["pose"].x, {"pose": data()["pose"].y, "kind": jnp.arange(5) % 3}
    mask = jnp.arange(5) < 4
    shared = MODEL.init(KEY, jmeta.Batch(x, y, mask))
    chex.assert_trees_all_equal_shapes_and_dtypes(shared, params)
    losses, metrics = MODEL.joint_losses(params, KEY, jmeta.Batch(x, y, mask))
    expected = by_hand(params, {name: jmeta.Batch(x[:4], y[name][:4]) for name in y})
    np.testing.assert_allclose(losses, [expected["kind"], expected["pose"]], rtol=1e-12)
    np.testing.assert_allclose(metrics["pose/loss"], expected["pose"], rtol=1e-12)


def test_the_encoder_runs_once_for_tasks_that_share_their_input():
    calls = []
    encoder = linear(4)
    counted = encoder._replace(apply=lambda params, x, **options: calls.append(x.shape) or encoder.apply(params, x, **options))
    task = jmeta.Task(linear(2), jmeta.squared_error)
    model = jmeta.hard_parameter_sharing(counted, {"a": task, "b": task})
    batch = jmeta.Batch(jnp.ones((5, 3)), {"a": jnp.ones((5, 2)), "b": jnp.ones((5, 2))})
    params = jmeta.EncoderHead(jnp.ones((3, 4)), dict.fromkeys("ab", jmeta.EncoderHead((), jnp.ones((4, 2)))))
    model.joint_losses(params, KEY, batch)
    assert calls == [(5, 3)]


def test_bad_tasks_and_data_are_refused():
    with pytest.raises(ValueError, match="tasks must name at least one task; got an empty mapping"):
        jmeta.hard_parameter_sharing(linear(4), {})
    with pytest.raises(ValueError, match=r"data must be a mapping with an entry for each of \['kind', 'pose'\]; got \['pose'\]"):
        MODEL.init(KEY, {"pose": data()["pose"]})
    with pytest.raises(ValueError, match=r"data must be one Batch\(x, \{name: y\}\) for joint losses; got dict"):
        MODEL.joint_losses(None, KEY, data())
    with pytest.raises(ValueError, match=r"y must be a mapping with an entry for each of \['kind', 'pose'\]; got ArrayImpl"):
        MODEL.joint_losses(MODEL.init(KEY, data()), KEY, data()["pose"])
    with pytest.raises(ValueError, match=r"name must be a task among \['kind', 'pose'\]; got 'age'"):
        MODEL.predict(MODEL.init(KEY, data()), "age", data()["pose"].x)
    with pytest.raises(ValueError, match="outputs and targets must have one shape"):
        MODEL.objectives["pose"](MODEL.init(KEY, data()), KEY, data()["pose"]._replace(y=jnp.ones(5)))


def of_planes(mask=None, weights=None, size=7):
    """A task of a plane ``[n, 7, 7]`` of labels, read off inputs of twice the size, beside one of vectors."""
    halved = linear(4)._replace(apply=lambda params, x, *, key=None, mask=None: jnp.tanh(x[:, ::2, ::2] @ params))
    mean = linear(2)._replace(apply=lambda params, x, *, key=None, mask=None: x.mean(axis=(1, 2)) @ params)
    model = jmeta.hard_parameter_sharing(
        halved, {"area": jmeta.Task(linear(3), cross_entropy), "pose": jmeta.Task(mean, jmeta.squared_error)}
    )
    y = {"area": jnp.zeros((2, size, size), int), "pose": jnp.full((2, 2), jnp.nan)}
    return model, jmeta.Batch(jnp.ones((2, 14, 14, 3)), y, mask, weights)


def test_a_plane_of_labels_of_another_size_than_the_output_is_refused():
    """Whether it is masked and weighed or not."""
    for mask, weights in ((None, None), (jnp.ones(2, bool), {"area": jnp.ones((2, 14, 14)), "pose": jnp.ones(2)})):
        model, batch = of_planes(mask, weights, size=14)
        params = model.init(KEY, batch)
        alone = batch._replace(y=batch.y["area"], weights=None if weights is None else weights["area"])
        sentence = (
            r"loss_fn of area must take the outputs and targets given to it; got outputs float32\[2, 7, 7, 3\] and targets "
            r"int32\[2, 14, 14\]: [^\n]*$"
        )
        with pytest.raises(ValueError, match=sentence):
            model.joint_losses(params, KEY, batch)
        with pytest.raises(ValueError, match=sentence):
            model.objectives["area"](params, KEY, alone)


@pytest.mark.parametrize("by", ["parameters", "features"])
def test_where_no_task_of_a_batch_has_a_target_losses_and_gradients_are_zero_and_nobody_is_present(by):
    model, batch = of_planes(weights={"area": jnp.zeros((2, 7, 7)), "pose": jnp.zeros(2)})
    params = model.init(KEY, batch)
    optimizer = jmeta.aggregate(jmeta.pcgrad(), optax.sgd(1.0), own=aggregation.sum())
    step = jax.jit(jmeta.make_step(jmeta.joint_gradients(model.joint_losses, with_respect_to=by), optimizer))
    after, metrics = step(jmeta.init_state(params, optimizer, KEY, tasks=2), batch)
    chex.assert_trees_all_equal(after.params, params)
    assert metrics["loss"] == 0
    assert not metrics["present"].any()
    losses, _ = model.joint_losses(params, KEY, batch)
    np.testing.assert_array_equal(losses, [0, 0])
