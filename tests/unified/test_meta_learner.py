"""Strategies against their formulas, and unified learners against the learners that they contain."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import testing
from jmeta.unified._groups import GROUPS
from tests.test_protocol import dense

KEY = jax.random.key(0)
MODEL = dense(4, 1)
SINUSOID = jmeta.sinusoid(shots=4, queries=3)
RATE = 0.05


def learner(num_steps=2, model=MODEL, adjoint=None, reconstruction=0.0, **options):
    encoder = jmeta.attention_task_encoder(embedding=3, width=4, seeds=2)
    strategies = jmeta.attention_meta_learner(inner_rate=RATE, width=2, **{"experiences": 3} | options)
    built = {"num_steps": num_steps, "adjoint": adjoint, "reconstruction": reconstruction}
    return jmeta.unified_learner(model, jmeta.squared_error, encoder, strategies, **built)


def episode():
    drawn = SINUSOID.sample(SINUSOID.data, jax.random.key(3))
    return jax.tree.map(lambda leaf: leaf.astype(float), drawn)


def varied(params):
    """Parameters of which none is 0: what begins at 0 would hide what it does."""
    leaves, structure = jax.tree.flatten(params)
    moved = [leaf.astype(float) + 0.2 * jnp.cos(jnp.arange(leaf.size) + at).reshape(leaf.shape) for at, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, moved)


@pytest.mark.parametrize("groups", GROUPS)
def test_meta_gradients_agree_with_central_differences(x64, groups):
    """Through task encoder, attention, generated weights, rates and gates, and the reconstruction."""
    made = learner(groups=groups, reconstruction=0.5)
    testing.check_gradient(made.loss, varied(made.init(KEY, episode())), KEY, episode(), tolerance=1e-6)


def test_targets_of_support_and_query_are_reconstructed_and_count_what_is_said(x64):
    made, without, task = learner(reconstruction=0.5), learner(), episode()
    params = varied(made.init(KEY, task))
    encoder = jmeta.attention_task_encoder(embedding=3, width=4, seeds=2)
    part = jmeta.EncoderHead(params.encoder["task_encoder"], params.head["task_encoder"])
    vector = encoder.embed(part, task.support, jnp.zeros((4, 1)))
    wrong = [
        jmeta.score(jmeta.squared_error, *encoder.reconstruct(part, vector, batch, 0 * batch.y))
        for batch in (task.support, task.query)
    ]
    value, metrics = made.loss(params, KEY, task)
    np.testing.assert_allclose(metrics["reconstruction"], np.mean(wrong), rtol=1e-10)
    np.testing.assert_allclose(value, without.loss(params, KEY, task)[0] + 0.5 * np.mean(wrong), rtol=1e-10)


def losses_and_adapted(made, params):
    loss = jax.jit(lambda params: made.loss(params, KEY, episode())[0])(params)
    return loss, made.adapt(params, KEY, episode().support).encoder


@pytest.mark.parametrize("adjoint", [jmeta.unrolled(), jmeta.first_order()])
def test_one_experience_and_fixed_steps_are_maml_from_it(x64, adjoint):
    made = learner(3, adjoint=adjoint, experiences=1, update_rules=False)
    params = varied(made.init(KEY, episode()))
    maml = jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(RATE), num_steps=3, adjoint=adjoint)
    start = jax.tree.map(lambda leaf: leaf[0], params.encoder["meta_learner"]["bank"])
    expected = maml.loss(start, KEY, episode())[0], maml.adapt(start, KEY, episode().support)
    chex.assert_trees_all_close(losses_and_adapted(made, params), expected, rtol=1e-10)
    got = jax.grad(lambda params: made.loss(params, KEY, episode())[0])(params).encoder["meta_learner"]["bank"]
    wanted = jax.grad(lambda start: maml.loss(start, KEY, episode())[0])(start)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0], got), wanted, rtol=1e-10, atol=1e-14)


def test_attention_on_one_experience_is_as_many_mamls(x64):
    made, maml = learner(update_rules=False), jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(RATE), num_steps=2)
    params = varied(made.init(KEY, episode()))
    part = params.encoder["meta_learner"]
    for chosen in range(3):
        # Queries that do not look at the task, and keys so far apart that the others get exactly nothing.
        queries = jax.tree.map(lambda leaf: jnp.ones_like(leaf) if leaf.ndim == 1 else jnp.zeros_like(leaf), part["queries"])
        keys = jnp.zeros_like(part["keys"]).at[:, chosen].set(1e4)
        fixed = params._replace(encoder=params.encoder | {"meta_learner": part | {"queries": queries, "keys": keys}})
        start = jax.tree.map(lambda leaf: leaf[chosen], part["bank"])  # noqa: B023
        expected = maml.loss(start, KEY, episode())[0], maml.adapt(start, KEY, episode().support)
        chex.assert_trees_all_close(losses_and_adapted(made, fixed), expected, rtol=1e-10)


@pytest.mark.parametrize("groups", GROUPS)
def test_rules_alone_that_look_at_nothing_are_meta_sgd_with_a_step_size_for_each_group(x64, groups):
    made = learner(1, groups=groups, initial_weights=False)
    params = made.init(KEY, episode())
    part = jax.tree.map(lambda leaf: leaf.astype(float), params.encoder["meta_learner"])
    rates = jax.tree.map(lambda leaf: 0.3 * jnp.sin(1.0 + jnp.arange(leaf.size)) if leaf.ndim == 1 else leaf, part["rates"])
    params = params._replace(encoder=params.encoder | {"meta_learner": part | {"rates": rates}})
    sizes = RATE * jnp.exp(rates["bias"])
    sizes = dict(zip(part["bank"], [sizes[:4], sizes[4:]] if groups == "channel" else [sizes[:1], sizes[1:]], strict=True))
    start = jax.tree.map(lambda leaf: leaf[0], part["bank"])
    meta_sgd = jmeta.meta_sgd(MODEL, jmeta.squared_error, num_steps=1)
    spread = jax.tree.map(lambda leaf, size: jnp.broadcast_to(size[None], leaf.shape), start, sizes)
    whole = {"initial": start, "rates": spread}
    expected = meta_sgd.loss(whole, KEY, episode())[0], meta_sgd.adapt(whole, KEY, episode().support)
    chex.assert_trees_all_close(losses_and_adapted(made, params), expected, rtol=1e-10)


def test_gates_see_the_loss_and_the_length_of_the_gradient(x64):
    """Two steps in NumPy, one group for each tensor."""
    made = learner(2, groups="tensor", model=dense(1), experiences=1)
    params, task = varied(made.init(KEY, episode())), episode()
    part = jax.device_get(params.encoder["meta_learner"])
    encoder = jmeta.attention_task_encoder(embedding=3, width=4, seeds=2)
    shared = jmeta.EncoderHead(params.encoder["task_encoder"], params.head["task_encoder"])
    vector = np.asarray(encoder.embed(shared, task.support, jnp.zeros((4, 1))))
    x, y = np.asarray(task.support.x), np.asarray(task.support.y)
    weights = part["bank"]["layer_0"][0]
    rates, gates = part["rates"], part["gates"]
    for step in range(2):
        error = x @ weights - y
        slope, loss = 2 * x.T @ error / len(x), np.mean(error**2)
        seen = vector @ gates["task"]["kernel"] + gates["task"]["bias"]
        seen = seen + gates["progress"][0] * np.arcsinh(loss) + gates["progress"][1] * np.log(np.linalg.norm(slope))
        size = RATE * np.exp(vector @ rates["kernel"] + rates["bias"])[step]
        weights = weights - size * 2 / (1 + np.exp(-seen)) * slope
    np.testing.assert_allclose(made.adapt(params, KEY, task.support).encoder["layer_0"], weights, rtol=1e-9)


@pytest.mark.parametrize("groups", GROUPS)
def test_weights_are_mixed_by_a_softmax_for_each_group(x64, groups):
    strategies = jmeta.attention_meta_learner(experiences=3, width=2, groups=groups)
    vector = jnp.array([0.3, -0.8])
    params = varied(strategies.init(KEY, lambda key: MODEL.init(key, jnp.ones((1, 2))), vector, 1))
    shares, weights = strategies.attention(params, vector), strategies.initial(params, vector)
    queries = np.asarray(vector @ params["queries"]["kernel"] + params["queries"]["bias"]).reshape(-1, 2)
    first = 0
    for name, leaf in weights.items():
        count = leaf.shape[-1] if groups == "channel" else 1
        first += count
        for group in range(count):
            at = first - count + group
            scores = np.array([queries[at] @ key for key in np.asarray(params["keys"][at])])
            expected = np.exp(scores / np.sqrt(2))
            np.testing.assert_allclose(shares[name][group], expected / expected.sum(), rtol=1e-12)
            mixed = np.tensordot(shares[name][group], params["bank"][name], axes=1)
            columns = slice(None) if groups == "tensor" else group
            np.testing.assert_allclose(leaf[..., columns], mixed[..., columns], rtol=1e-12)


def test_a_modulated_network_is_a_scaled_and_shifted_one(x64):
    """Against activations: a layer is scaled by channels, a bias is shifted; unmodulated it is MAML."""
    layer = jmeta.Model(
        lambda key, x: {"kernel": jax.random.normal(key, (x.shape[-1], 3)), "bias": jnp.arange(3.0)},
        lambda params, x, *, key=None, mask=None: x @ params["kernel"] + params["bias"][None],
    )
    strategies, vector, x = jmeta.modulating_meta_learner(inner_rate=RATE), jnp.array([0.3, -0.8]), jnp.ones((2, 4))
    params = strategies.init(KEY, lambda key: layer.init(key, x), vector, 2)
    chex.assert_trees_all_equal(strategies.initial(params, vector), params["weights"])
    params = varied(params)
    scale, shift = (
        vector @ params["modulations"][name]["kernel"] + params["modulations"][name]["bias"] for name in ("kernel", "bias")
    )
    plain = layer.apply(params["weights"], x)
    bias = np.asarray(params["weights"]["bias"])
    expected = (np.asarray(plain) - bias) * (1 + np.asarray(scale)) + bias + np.asarray(shift)
    np.testing.assert_allclose(layer.apply(strategies.initial(params, vector), x), expected, rtol=1e-12)
    encoder, maml = jmeta.attention_task_encoder(embedding=3, width=4), jmeta.maml(MODEL, jmeta.squared_error, optax.sgd(RATE))
    made = jmeta.unified_learner(MODEL, jmeta.squared_error, encoder, strategies, reconstruction=0)
    whole = made.init(KEY, episode())
    start = whole.encoder["meta_learner"]["weights"]
    expected = maml.loss(start, KEY, episode())[0], maml.adapt(start, KEY, episode().support)
    chex.assert_trees_all_close(losses_and_adapted(made, whole), expected, rtol=1e-10)
    moved = varied(whole)
    testing.check_gradient(made.loss, moved, KEY, episode(), tolerance=1e-6)


def test_a_strategy_is_what_a_learner_begins_with_and_steps_by(x64):
    encoder = jmeta.attention_task_encoder(embedding=3, width=4, seeds=2)
    strategies = jmeta.attention_meta_learner(inner_rate=RATE, experiences=3, width=2)
    made, task = learner(2), episode()
    params = varied(made.init(KEY, task))
    vector = jmeta.task_embedding(encoder, params, task.support, jnp.zeros((4, 1)))
    strategy = jmeta.learning_strategy(strategies, params, vector)
    start = jax.tree.map(lambda leaf: leaf[0], made.path(params, KEY, task.support, 2))
    chex.assert_trees_all_close(strategy.initial, start, rtol=1e-12)
    assert strategy.step_sizes.keys() == strategy.attention.keys() == {"encoder/layer_0", "encoder/layer_1"}
    rates = params.encoder["meta_learner"]["rates"]
    expected = RATE * np.exp(np.asarray(vector) @ rates["kernel"] + rates["bias"]).reshape(2, 5)[:, :4]
    np.testing.assert_allclose(strategy.step_sizes["encoder/layer_0"], expected, rtol=1e-12)
    np.testing.assert_allclose(strategy.attention["encoder/layer_0"].sum(axis=1), np.ones(4), rtol=1e-12)


def test_ablations_leave_out_what_they_name(x64):
    sizes = {
        "all": {},
        "attention": {"attention": False},
        "initial": {"initial_weights": False},
        "rules": {"update_rules": False},
    }
    parts = {name: learner(**options).init(KEY, episode()).encoder["meta_learner"].keys() for name, options in sizes.items()}
    assert parts["all"] == {"bank", "queries", "keys", "rates", "gates"}
    assert parts["attention"] == {"bank", "rates", "gates"}
    assert parts["initial"] == {"bank", "rates", "gates"}
    assert parts["rules"] == {"bank", "queries", "keys"}
    strategies = jmeta.attention_meta_learner(experiences=4, attention=False)
    params = strategies.init(KEY, lambda key: MODEL.init(key, jnp.ones((1, 2))), jnp.zeros(2), 1)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), params["bank"])
    chex.assert_trees_all_close(strategies.initial(params, jnp.ones(2)), mean, rtol=1e-12)


def test_kinds_of_task_share_everything_but_what_targets_and_heads_need():
    """A regression and a classification on one body, trained together."""
    body = dense(4)
    encoder, strategies = jmeta.attention_task_encoder(embedding=3, width=4), jmeta.attention_meta_learner(experiences=2)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    kinds = {
        "level": jmeta.unified_learner(jmeta.EncoderHead(body, dense(1)), jmeta.squared_error, encoder, strategies),
        "kind": jmeta.unified_learner(jmeta.EncoderHead(body, dense(3)), cross_entropy, encoder, strategies),
    }
    x = jax.random.normal(KEY, (2, 6, 2))
    data = {
        "level": jmeta.Episode(jmeta.Batch(x, x[..., :1]), jmeta.Batch(x, x[..., :1])),
        "kind": jmeta.Episode(*[jmeta.Batch(x, jnp.tile(jnp.arange(6) % 3, (2, 1)))] * 2, classes=jnp.ones((2, 3), bool)),
    }
    made = {name: one.init(KEY, jax.tree.map(lambda leaf: leaf[0], data[name])) for name, one in kinds.items()}
    chex.assert_trees_all_equal_shapes(made["level"].encoder, made["kind"].encoder)
    params = jmeta.EncoderHead(made["level"].encoder, {name: one.head for name, one in made.items()})
    objective = jmeta.mixture({name: jmeta.over_tasks(jmeta.on_head(one.loss, name)) for name, one in kinds.items()})
    optimizer = optax.adam(1e-2)
    step, state = jax.jit(jmeta.make_step(objective, optimizer)), jmeta.init_state(params, optimizer, KEY)
    losses = []
    for _ in range(20):
        state, metrics = step(state, data)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]


def test_a_support_without_examples_is_refused_where_it_can_be_seen():
    made, task = learner(), episode()
    params, nobody = made.init(KEY, task), task.support._replace(mask=jnp.zeros(4, bool))
    with pytest.raises(ValueError, match="support must hold an example to be embedded; got none: pass empty=True to the task"):
        made.adapt(params, KEY, nobody)
    chex.assert_tree_all_finite(jax.jit(lambda support: made.adapt(params, KEY, support))(nobody))


def test_bad_options_are_refused():
    for options, sentence in [
        ({"inner_rate": 0.0}, "inner_rate must be positive; got 0.0"),
        ({"experiences": 0}, "experiences must be a whole number of at least 1; got 0"),
        ({"groups": "row"}, "groups must be tensor or channel; got 'row'"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            jmeta.attention_meta_learner(**options)
    whole = jmeta.TaskEncoder(lambda key, batch, outputs: jmeta.EncoderHead({}, {}), lambda *_, classes=None: jnp.ones((2, 2)))
    made = jmeta.unified_learner(MODEL, jmeta.squared_error, whole, jmeta.attention_meta_learner())
    with pytest.raises(ValueError, match=r"task_encoder must give a vector \[d\]; got \(2, 2\)"):
        made.init(KEY, episode())
    with pytest.raises(ValueError, match="model must be a Model; got int"):
        jmeta.unified_learner(3, jmeta.squared_error, whole, jmeta.attention_meta_learner())
