"""A fixed set of tasks: networks made of a bank, embeddings that follow the data, new tasks, and learners by strategies."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, testing
from tests.test_protocol import dense

KEY = jax.random.key(0)
cross_entropy = optax.softmax_cross_entropy_with_integer_labels
TASKS = {"kind": jmeta.Task(dense(3), cross_entropy), "pose": jmeta.Task(dense(2), jmeta.squared_error)}
ENCODER = jmeta.attention_task_encoder(embedding=4, width=8, seeds=2)
STRATEGIES = jmeta.attention_meta_learner(inner_rate=0.1, experiences=3, width=2)


def of_tasks(tasks=TASKS, strategies=STRATEGIES, **options):
    return jmeta.unified_multitask(dense(4), tasks, ENCODER, strategies, embedding=4, **options)


def of_both(rows=6):
    x = jax.random.normal(KEY, (rows, 3))
    return Batch(x, {"kind": jnp.arange(rows) % 3, "pose": x[:, :2]})


def varied(params):
    return jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(1.0 + jnp.arange(leaf.size)).reshape(leaf.shape), params)


@pytest.mark.parametrize("between_tasks", [True, False])
def test_gradients_agree_with_central_differences(x64, between_tasks):
    model, data = of_tasks(between_tasks=between_tasks, num_steps=1), of_both()

    def loss(params, key, data, *, step=0):
        losses, metrics = model.joint_losses(params, key, data, step=step)
        return losses @ jnp.array([1.0, -0.7]), metrics

    params = varied(jax.tree.map(lambda leaf: leaf.astype(float), model.init(KEY, data)))
    testing.check_gradient(loss, params, KEY, data, tolerance=1e-6)


def test_one_experience_and_nothing_added_is_hard_parameter_sharing(x64):
    one = jmeta.attention_meta_learner(experiences=1, update_rules=False)
    model, hard = of_tasks(strategies=one, reconstruction=0, agreement=0), jmeta.hard_parameter_sharing(dense(4), TASKS)
    data = of_both()
    params = model.init(KEY, data)
    bank = jax.tree.map(lambda leaf: leaf[0], params.encoder["meta_learner"]["bank"])
    same = hard.init(KEY, data)._replace(encoder=bank)
    same = same._replace(head={name: part._replace(head=params.head[name].head) for name, part in same.head.items()})
    np.testing.assert_allclose(model.joint_losses(params, KEY, data)[0], hard.joint_losses(same, KEY, data)[0], rtol=1e-12)


def test_a_change_of_ones_own_makes_it_independent_networks(x64):
    """What a task adds reaches its own outputs alone."""
    model, data = of_tasks(), of_both()
    params = model.init(KEY, data)
    head = params.head["pose"]
    change = jax.tree.map(jnp.ones_like, head.encoder["change"])
    moved = params._replace(head=params.head | {"pose": head._replace(encoder=head.encoder | {"change": change})})
    before, after = ({name: model.predict(tree, name, data.x) for name in TASKS} for tree in (params, moved))
    np.testing.assert_array_equal(before["kind"], after["kind"])
    assert not np.allclose(before["pose"], after["pose"])


def test_attention_between_tasks_is_a_softmax_of_their_embeddings(x64):
    model = of_tasks()
    params = varied(model.init(KEY, of_both()))
    shares = jmeta.attention_between_tasks(params)
    vectors = np.stack([params.encoder["embeddings"][name] for name in model.names])
    scores = np.exp(vectors @ (vectors @ np.asarray(params.encoder["between"]["keys"])).T / 2)
    np.testing.assert_allclose(shares, scores / scores.sum(axis=1, keepdims=True), rtol=1e-12)
    with pytest.raises(ValueError, match=r"params must be those of a unified_multitask\(..., between_tasks=True\)"):
        jmeta.attention_between_tasks(of_tasks(between_tasks=False).init(KEY, of_both()))


def test_embeddings_begin_at_what_the_task_encoder_says_and_do_not_know_of_other_tasks(x64):
    model, data = of_tasks(between_tasks=False), of_both()
    params = model.init(KEY, data)
    metrics = model.joint_losses(params, KEY, data)[1]
    assert metrics["kind/agreement"] < 1e-20
    other = data._replace(y=data.y | {"pose": 3 * data.y["pose"]})
    again = model.init(KEY, other)
    np.testing.assert_array_equal(params.head["kind"].encoder["embedding"], again.head["kind"].encoder["embedding"])
    assert not np.allclose(params.head["pose"].encoder["embedding"], again.head["pose"].encoder["embedding"])


def test_what_is_added_to_a_loss_is_what_it_says(x64):
    """The loss after one step in NumPy; the reconstruction and the agreement from the task encoder's own functions."""
    fixed = jmeta.attention_meta_learner(inner_rate=0.1, experiences=1, update_rules=False)
    model, data = of_tasks(strategies=fixed, num_steps=1, reconstruction=0.3, agreement=0.7), of_both()
    params = varied(model.init(KEY, data))
    batch = Batch(data.x, data.y["pose"])
    value, metrics = model.objectives["pose"](params, KEY, batch)
    head = np.asarray(params.head["pose"].head["layer_0"])
    change = params.head["pose"].encoder["change"]["layer_0"]
    weights = np.asarray(params.encoder["meta_learner"]["bank"]["layer_0"][0] + change)
    x, y = np.asarray(batch.x), np.asarray(batch.y)
    support, query = slice(0, None, 2), slice(1, None, 2)
    error = x[support] @ weights @ head - y[support]
    moved = weights - 0.1 * 2 * x[support].T @ error @ head.T / error.size
    np.testing.assert_allclose(metrics["after_steps"], np.mean((x[query] @ moved @ head - y[query]) ** 2), rtol=1e-10)
    shared, own = params.encoder, params.head["pose"].encoder
    part, known, outputs = jmeta.EncoderHead(shared["task_encoder"], own["task_encoder"]), shared["embeddings"]["pose"], 0 * batch.y
    away = np.mean((known - ENCODER.embed(part, batch, outputs)) ** 2)
    rebuilt = jmeta.score(jmeta.squared_error, *ENCODER.reconstruct(part, known, batch, outputs))
    np.testing.assert_allclose((metrics["agreement"], metrics["reconstruction"]), (away, rebuilt), rtol=1e-10)
    predicted = np.mean((x @ weights @ head - y) ** 2)
    np.testing.assert_allclose(value, predicted + 0.7 * away + 0.3 * rebuilt + metrics["after_steps"], rtol=1e-10)


def test_two_phases_train_first_everything_but_the_changes_and_then_these_alone(x64):
    model, data = of_tasks(num_steps=1), of_both()
    phases = [
        jmeta.trainable(optax.adam(0.01), lambda path: "change" not in path),
        jmeta.follow_strategies(jmeta.trainable(optax.adam(0.01), lambda path: "change" in path), STRATEGIES),
    ]
    params, losses = model.init(KEY, data), []
    batches = jmeta.Sampler(data, lambda data, key: {name: Batch(data.x, data.y[name]) for name in TASKS})
    for at, optimizer in enumerate(phases):
        state = jmeta.init_state(params, optimizer, KEY)
        step = jmeta.make_step(jmeta.mixture(model.objectives), optimizer)
        before, params = params, jmeta.fit(step, state, batches, num_steps=30, steps_per_chunk=30, progress=False).state.params
        moved = [
            "change" in jax.tree_util.keystr(path)
            for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(params), strict=True)
            if not np.array_equal(old, new)
        ]
        assert moved
        assert set(moved) == {bool(at)}
        losses.append(float(model.joint_losses(params, KEY, data)[1]["loss"]))
    assert losses[1] < losses[0] < model.joint_losses(model.init(KEY, data), KEY, data)[1]["loss"]


def test_strategies_scale_the_steps_of_changes_by_their_last_rates(x64):
    model, data = of_tasks(), of_both()
    params = varied(model.init(KEY, data))
    plain, following = optax.sgd(0.1), jmeta.follow_strategies(optax.sgd(0.1), STRATEGIES)
    gradient = jax.tree.map(jnp.ones_like, params)
    expected, got = (one.update(gradient, one.init(params), params)[0] for one in (plain, following))
    chex.assert_trees_all_equal(got.encoder, expected.encoder)
    rates = params.encoder["meta_learner"]["rates"]
    vectors = jnp.stack([params.encoder["embeddings"][name] for name in model.names])
    between = params.encoder["between"]
    taken = jmeta.attention_between_tasks(params)[1] @ vectors @ between["values"]["kernel"] + between["values"]["bias"]
    seen = vectors[1] + taken
    factors = np.exp(seen @ rates["kernel"] + rates["bias"])
    np.testing.assert_allclose(got.head["pose"].encoder["change"]["layer_0"], -0.1 * np.tile(factors, (3, 1)), rtol=1e-12)


def test_a_new_task_begins_with_a_fresh_head_and_the_embedding_of_its_examples():
    model, wider = of_tasks(), of_tasks(TASKS | {"new": jmeta.Task(dense(2), cross_entropy)})
    params = model.init(KEY, of_both())
    examples = Batch(jax.random.normal(KEY, (4, 3)), jnp.array([0, 1, 0, 1]))
    grown = jmeta.add_task(wider, params, KEY, "new", examples, ENCODER)
    chex.assert_trees_all_equal(jax.tree.leaves(grown.head["pose"]), jax.tree.leaves(params.head["pose"]))
    np.testing.assert_allclose(wider.objectives["new"](grown, KEY, examples)[1]["agreement"], 0, atol=1e-12)
    assert wider.predict(grown, "new", examples.x).shape == (4, 2)
    for name in ("pose", "elsewhere"):
        with pytest.raises(ValueError, match=f"name must be a task of .* and none of .*; got '{name}'"):
            jmeta.add_task(wider, params, KEY, name, examples, ENCODER)


def test_absent_and_lone_tasks_are_no_special_cases():
    model, data = of_tasks(num_steps=1), of_both()
    params = model.init(KEY, data)
    absent = data._replace(weights={"kind": jnp.zeros(6), "pose": jnp.ones(6)})
    losses, metrics = model.joint_losses(params, KEY, absent)
    assert losses[0] == 0
    assert metrics["present"].tolist() == [False, True]
    gradient = jax.grad(lambda params: model.joint_losses(params, KEY, absent)[0][0])(params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    alone = of_tasks({"pose": TASKS["pose"]})
    batch = {"pose": Batch(data.x, data.y["pose"])}
    made = alone.init(KEY, batch)
    assert np.isfinite(alone.objectives["pose"](made, KEY, batch["pose"])[0])
    np.testing.assert_array_equal(jmeta.attention_between_tasks(made), [[1.0]])


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="encoder must be a Model; got int"):
        jmeta.unified_multitask(3, TASKS, ENCODER, STRATEGIES)
    with pytest.raises(ValueError, match=r"task_encoder must give a vector \[7\]; got \(4,\)"):
        jmeta.unified_multitask(dense(4), TASKS, ENCODER, STRATEGIES, embedding=7).init(KEY, of_both())
    optimizer = jmeta.follow_strategies(optax.sgd(0.1), STRATEGIES)
    with pytest.raises(ValueError, match=r"params must be given to follow_strategies\(...\).update; got None"):
        optimizer.update({}, ())
    with pytest.raises(ValueError, match="num_steps must be a whole number"):
        of_tasks(num_steps=-1)
