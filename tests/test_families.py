"""What every weighting, aggregator, multi-task network and objective promises: a new one adds one row. And all have their rows."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch, aggregation, testing, transfer
from jmeta import _aggregator_promises as promises
from jmeta._aggregator_trials import Trial
from jmeta._variations import STRANGE, estranged
from tests.multitask import trunks
from tests.test_protocol import LEARNERS
from tests.transfer import domains

KEY = jax.random.key(0)
ROOT = Path(__file__).parent.parent
# Of four tasks, the second and the last are absent.
PRESENT = np.array([True, False, True, False])

WEIGHTINGS = {
    "equal_weighting": jmeta.equal_weighting(),
    "uncertainty_weighting": jmeta.uncertainty_weighting(optax.adam(0.1)),
    "random_weighting": jmeta.random_weighting(),
    "dynamic_weight_average": jmeta.dynamic_weight_average(steps_per_epoch=1),
    "geometric_loss_strategy": jmeta.geometric_loss_strategy(),
    "imtl_l": jmeta.imtl_l(optax.adam(0.1)),
    "famo": jmeta.famo(optax.adam(0.1)),
    "smooth_tchebycheff": jmeta.smooth_tchebycheff(0.1),
    "smooth_tchebycheff over the nadir": jmeta.smooth_tchebycheff(0.5, nadir_steps=(0, 2)),
    "gradnorm": jmeta.gradnorm(optax.adam(0.1), lambda gradient: gradient),
}
# Options that belong to a task.
OPTIONS = {
    "uncertainty_weighting classification": lambda option: jmeta.uncertainty_weighting(optax.sgd(0.1), classification=option),
    "uncertainty_weighting initial": lambda option: jmeta.uncertainty_weighting(optax.sgd(0.1), initial=option),
    "famo lower_bounds": lambda option: jmeta.famo(optax.sgd(0.1), lower_bounds=option),
    "smooth_tchebycheff preferences": lambda option: jmeta.smooth_tchebycheff(0.1, preferences=option),
    "smooth_tchebycheff reference": lambda option: jmeta.smooth_tchebycheff(0.1, reference=option),
}
IN_ORDER = jmeta.pcgrad(shuffle=False)
EQUIVARIANT, NON_CONFLICTING, LINEAR, STATIONARY = CLAIMS = (
    "permutation_equivariant",
    "non_conflicting",
    "linear_under_scaling",
    "strongly_stationary",
)
# Where gradients cancel there is no bargain; what is added to the diagonal gives one, that is next to nothing and may conflict.
BARGAIN = {"own_length": True, "tolerance": 1e-5}
# With what is claimed of each, and what else is to be known of it.
AGGREGATORS = {
    "sum": (aggregation.sum(), {EQUIVARIANT, LINEAR, STATIONARY}, {}),
    "mean": (aggregation.mean(), {EQUIVARIANT, LINEAR, STATIONARY}, {}),
    "pcgrad": (jmeta.pcgrad(), {EQUIVARIANT, LINEAR, STATIONARY}, {"draws": True}),
    "pcgrad in task order": (IN_ORDER, {LINEAR, STATIONARY}, {}),
    "gradvac": (jmeta.gradvac(), {EQUIVARIANT, LINEAR, STATIONARY}, {"draws": True}),
    "graddrop": (jmeta.graddrop(leak=0.5), {EQUIVARIANT, STATIONARY}, {"draws": True}),
    "imtl_g": (jmeta.imtl_g(), {EQUIVARIANT}, {}),
    "aligned_mtl": (jmeta.aligned_mtl(), {EQUIVARIANT, STATIONARY}, {}),
    "mgda": (jmeta.mgda(), {EQUIVARIANT, NON_CONFLICTING}, {}),
    "cagrad": (jmeta.cagrad(), {EQUIVARIANT, STATIONARY}, {"own_length": True}),
    "nash_mtl": (jmeta.nash_mtl(), {EQUIVARIANT, NON_CONFLICTING, STATIONARY}, BARGAIN),
    "fairgrad": (jmeta.fairgrad(), {EQUIVARIANT, NON_CONFLICTING, STATIONARY}, BARGAIN),
    "upgrad": (jmeta.upgrad(), {EQUIVARIANT, NON_CONFLICTING, LINEAR, STATIONARY}, {}),
    "dual_projection": (jmeta.dual_projection(), {EQUIVARIANT, NON_CONFLICTING, STATIONARY}, {}),
    "cr_mogm": (jmeta.cr_mogm(jmeta.dual_projection()), {EQUIVARIANT, STATIONARY}, {}),
}
BROKEN = dict(
    zip(
        CLAIMS,
        (
            promises.check_order,
            promises.check_non_conflicting,
            promises.check_linear_under_scaling,
            promises.check_strongly_stationary,
        ),
        strict=True,
    )
)
# False by an example of its own, in tests/aggregation/test_imtl_g.py.
ELSEWHERE = {("imtl_g", STATIONARY)}


def unified(encoder, tasks):
    parts = jmeta.attention_task_encoder(width=4), jmeta.attention_meta_learner(experiences=2, groups="tensor")
    return jmeta.unified_multitask(encoder, tasks, *parts, num_steps=1)


MULTITASK = {
    "hard_parameter_sharing": jmeta.hard_parameter_sharing,
    "independent_networks": jmeta.independent_networks,
    "cross_stitch_networks": lambda encoder, tasks: jmeta.cross_stitch_networks([encoder, linear(4)], tasks),
    "sluice_networks": lambda encoder, tasks: jmeta.sluice_networks([encoder, linear(4)], tasks, diagonal=0.8),
    "multi_task_attention_network": lambda encoder, tasks: jmeta.multi_task_attention_network([encoder, linear(4)], tasks),
    "multi_gate_mixture_of_experts": lambda encoder, tasks: jmeta.multi_gate_mixture_of_experts(encoder, tasks, num_experts=3),
    "customized_gate_control": jmeta.customized_gate_control,
    "customized_gate_control without own experts": lambda encoder, tasks: jmeta.customized_gate_control(encoder, tasks, own=0),
    "progressive_layered_extraction of one level": lambda encoder, tasks: jmeta.progressive_layered_extraction([encoder], tasks),
    "progressive_layered_extraction": lambda encoder, tasks: jmeta.progressive_layered_extraction(
        [encoder] + 2 * [linear(4)], tasks
    ),
    "task_conditioned_film": lambda encoder, tasks: jmeta.task_conditioned_film([encoder, linear(4)], tasks),
    "unified_multitask": unified,
    "multitask_model with scales of its own": trunks.scaled,
    "multitask_model without common features": trunks.conditioned,
}
ALIGNMENTS = {
    "coral": transfer.coral(),
    "mmd": transfer.mmd(),
    "joint_mmd": transfer.joint_mmd(),
    "dann": transfer.dann(domains.dense(1), reversal=0.5),
    "cdan": transfer.cdan(domains.dense(1), reversal=0.5),
    "cdan without entropy": transfer.cdan(domains.dense(1), entropy=False),
    "mcc": transfer.mcc(),
    "mcd": transfer.mcd(domains.dense(domains.CLASSES)),
    "mdd": transfer.mdd(domains.dense(domains.CLASSES)),
    "minimum_entropy": transfer.minimum_entropy(),
}
# Nothing is computed once for all tasks.
WITHOUT_FEATURES = {"independent_networks", "task_conditioned_film", "multitask_model without common features"}
UNIFIED = {"unified_multitask"}


def rows_of(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# --- aggregators ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_keeps_its_promises_and_what_is_claimed_of_it_and_no_more(x64, name):
    aggregator, claims, known = AGGREGATORS[name]
    testing.check_aggregator(aggregator, **{"tolerance": 1e-9} | known, **{claim: claim in claims for claim in CLAIMS})
    for claim in CLAIMS:
        if claim not in claims and (name, claim) not in ELSEWHERE:
            with pytest.raises(ValueError, match=r"^combine must "):
                BROKEN[claim](Trial(aggregator, known.get("draws", False), 1e-5))


@pytest.mark.parametrize("name", sorted(AGGREGATORS.keys() & vars(aggregation).keys() - {"cr_mogm"}))
def test_an_aggregator_s_docstring_says_what_is_claimed(name):
    said = getattr(aggregation, name).__doc__.lower().replace("-", "_").replace(" ", "_")
    assert {claim for claim in CLAIMS if claim in said} == AGGREGATORS[name][1]


# --- weightings -------------------------------------------------------------------------------------------------------------------


def changing(losses, steps=3):
    """The losses of several steps, ``[steps, tasks]``."""
    return np.asarray(losses) * (1 + 0.3 * np.arange(steps)[:, None] * np.cos(losses)[None])


def run(weighting, losses, present):
    """The last state, and the weights ``[steps, tasks]`` for losses like them."""

    def step(state, now):
        key, values = now
        wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))[:, None]
        rows = wide * jnp.cos(wide + jnp.arange(5, dtype=wide.dtype)[None])
        weights, state = weighting.weigh(state, values, present=present, key=key, pullback=lambda weights: weights @ rows)
        return (state if weighting.observe is None else weighting.observe(state, values / 2, present=present)), weights

    steps, tasks = losses.shape
    return jax.lax.scan(step, weighting.init(tasks), (jax.random.split(KEY, steps), losses))


def weighed(weighting, losses, present):
    return jax.jit(lambda *given: run(weighting, *given))(jnp.asarray(changing(losses)), jnp.asarray(present))


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_gives_a_finite_weight_to_each_task_and_a_state_that_can_be_carried(x64, name):
    state, weights = weighed(WEIGHTINGS[name], [0.5, 2.0, 0.1], np.ones(3, bool))
    assert weights.shape == (3, 3)
    chex.assert_tree_all_finite((state, weights))
    assert (weights > 0).all()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_of_some_absent_tasks_is_that_of_the_others(x64, name):
    losses = np.array([0.5, 0.0, 2.0, 0.0])
    _, weights = weighed(WEIGHTINGS[name], losses, PRESENT)
    _, alone = weighed(WEIGHTINGS[name], losses[PRESENT], np.ones(2, bool))
    if name != "equal_weighting":
        assert not np.allclose(alone[0], alone[-1])
    np.testing.assert_allclose(weights[:, PRESENT], alone, rtol=1e-12)
    assert np.isfinite(weights).all()


HARD = {
    "solved": [0.0, 0.0, 0.0],
    "one solved": [0.5, 0.0, 2.0],
    "negative": [-1.0, -0.5, 2.0],
    "huge": [2e38, 2e38, 1e37],
    "tiny beside huge": [1e-30, 1.0, 1e30],
    "alone": [0.5, 0.0, 0.0],
    "nobody": [0.0, 0.0, 0.0],
}
LEAPS = np.array([[1e-30, 1.0, 1e30], [1e30, 1.0, 1e-30], [1e-30, 1.0, 0.0]])
THERE = {"alone": [True, False, False], "nobody": [False] * 3}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_stays_finite_and_absent_tasks_stand_still(name):
    """In float32, whatever the losses: all sets of three of them in one program."""
    hard = {kind: changing(losses) for kind, losses in HARD.items()} | {"leaps": LEAPS}
    present = np.array([THERE.get(kind, [True] * 3) for kind in hard])
    weighting = WEIGHTINGS[name]
    state, weights = jax.jit(jax.vmap(lambda *given: run(weighting, *given)))(jnp.asarray([*hard.values()], jnp.float32), present)
    for at, kind in enumerate(hard):
        assert np.isfinite(weights[at]).all(), kind
        assert (weights[at] >= 0).all(), kind
    for after, before in zip(jax.tree.leaves(state), jax.tree.leaves(weighting.init(3)), strict=True):
        if before.shape == (3,):
            np.testing.assert_array_equal(after[~present], np.broadcast_to(before, after.shape)[~present])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_computes_in_float32_at_least_and_keeps_the_types_of_its_state(name):
    weighting, losses = WEIGHTINGS[name], jnp.asarray(changing([0.5, 2.0, 0.1]), jnp.bfloat16)
    both = lambda losses, present: [run(weighting, given, present) for given in (losses, losses.astype(jnp.float32))]  # noqa: E731
    (state, weights), (wide_state, wide_weights) = jax.jit(both)(losses, jnp.ones(3, bool))
    chex.assert_trees_all_equal_dtypes(state, weighting.init(3))
    chex.assert_trees_all_close((state, weights), (wide_state, wide_weights), rtol=1e-6)


def test_weightings_keep_the_types_of_their_states_with_float32_losses_under_x64(x64):
    """A scan refuses a state that changes its types."""
    for weighting in WEIGHTINGS.values():
        given = jnp.ones((3, 3), jnp.float32), jnp.ones(3, bool)
        state, _ = jax.eval_shape(lambda *given: run(weighting, *given), *given)  # noqa: B023
        chex.assert_trees_all_equal_dtypes(state, weighting.init(3))


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_task_that_is_not_there_is_refused(name):
    option = name.split()[1]
    with pytest.raises(ValueError, match=rf"{option} must name tasks among \['age', 'kind'\]; got \['pose'\]"):
        OPTIONS[name]({"pose": 1.0}).init(["kind", "age"])
    with pytest.raises(ValueError, match=rf"{option} must have one entry per task; got 3 for 2 tasks"):
        OPTIONS[name]([1.0, 1.0, 1.0]).init(2)
    by_name, by_order = OPTIONS[name]({"kind": 2.0}).init(["kind", "age"]), OPTIONS[name]({"age": 2.0}).init(["kind", "age"])
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim else leaf, by_name), by_order)


# --- multi-task networks ----------------------------------------------------------------------------------------------------------


def linear(features):
    return jmeta.Model(
        lambda key, x: jax.random.normal(key, (x.shape[-1], features)),
        lambda params, x, *, key=None, mask=None: jnp.tanh(x @ params),
    )


TASKS = {
    "pose": jmeta.Task(linear(2), jmeta.squared_error),
    "kind": jmeta.Task(linear(3), optax.softmax_cross_entropy_with_integer_labels),
}


@pytest.mark.parametrize("name", MULTITASK)
def test_a_way_of_sharing_keeps_its_promises(x64, name):
    options = {"shares_features": name not in WITHOUT_FEATURES | UNIFIED, "own_objective": name in UNIFIED}
    testing.check_multitask(MULTITASK[name], **options, tolerance=1e-10)


@pytest.mark.parametrize("name", sorted(WITHOUT_FEATURES))
def test_a_way_of_sharing_without_features_is_not_compared_by_them(name):
    losses = MULTITASK[name](linear(4), TASKS).joint_losses
    with pytest.raises(ValueError, match="losses must be the joint_losses of a multi-task model to be compared by features"):
        jmeta.joint_gradients(losses, with_respect_to="features")


# --- alignments of two domains ----------------------------------------------------------------------------------------------------

STRETCHED = 100 * domains.rows(5, 2)
ALIKE = np.tile(domains.rows(5, 2)[:1], (5, 1))
# The inputs of two domains, and how many rows of each are real.
PAIRS = {
    "equal": (domains.rows(5, 2), domains.rows(5, 2), 5, 5),
    "disjoint": (STRETCHED - 1000, STRETCHED + 1000, 5, 5),
    "of different sizes": (domains.rows(5, 2), domains.rows(5, 2, seed=2), 5, 2),
    "of one row": (domains.rows(5, 2), domains.rows(5, 2, seed=2), 1, 5),
    "of one row each": (domains.rows(5, 2), domains.rows(5, 2, seed=2), 1, 1),
    "of one row again and again": (ALIKE, ALIKE, 5, 5),
    "without a source": (domains.rows(5, 2), domains.rows(5, 2, seed=2), 0, 5),
    "without a target": (domains.rows(5, 2), domains.rows(5, 2, seed=2), 5, 0),
}


def pairs(dtype):
    """All of them, leaves ``[pairs, ...]``; what is masked is NaN."""
    found = {"source": [], "target": []}
    for *inputs, of_source, of_target in PAIRS.values():
        for name, x, count in zip(found, inputs, (of_source, of_target), strict=True):
            mask = np.arange(5) < count
            batch = Batch(
                jnp.asarray(np.where(mask[:, None], x, np.nan), dtype), jnp.arange(5) % domains.CLASSES, jnp.asarray(mask)
            )
            found[name].append(batch._replace(y=None) if name == "target" else batch)
    return {name: jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches) for name, batches in found.items()}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_an_alignment_is_finite_whatever_the_domains_and_absent_ones_say_nothing(name):
    model, given = domains.adapted(ALIGNMENTS[name]), pairs(jnp.float32)
    params = model.init(KEY, rows_of(given, 0))
    differentiate = jax.vmap(jax.value_and_grad(model.objective, has_aux=True), (None, None, 0))
    (values, metrics), slopes = jax.jit(differentiate)(params, KEY, given)
    half, in_half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params), pairs(jnp.bfloat16)
    chex.assert_trees_all_equal_dtypes(half, jax.eval_shape(differentiate, half, KEY, in_half)[1])
    chex.assert_tree_all_finite((values, slopes))
    *_, without_source, without_target = range(len(PAIRS))
    np.testing.assert_array_equal(metrics["present"], np.arange(len(PAIRS)) != without_source)
    assert not any(leaf[without_source].any() for leaf in jax.tree.leaves((values, slopes)))
    np.testing.assert_array_equal(values[without_target], metrics["source_loss"][without_target])
    assert not any(leaf[without_target].any() for leaf in jax.tree.leaves(slopes.alignment))


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_an_alignment_sees_real_rows_alone_and_no_target_labels(x64, name):
    """Values and gradients of one row and five are those of five masked to one and five in another order."""
    model, given = domains.adapted(ALIGNMENTS[name]), rows_of(pairs(float), [*PAIRS].index("of one row"))
    source, target = given["source"], given["target"]
    params = model.init(KEY, given)
    differentiate = jax.jit(jax.value_and_grad(lambda params, data: model.objective(params, KEY, data)[0]))
    told = target._replace(y=jnp.full(5, jnp.nan), weights=jnp.zeros(5))
    one = {"source": Batch(source.x[:1], source.y[:1]), "target": Batch(target.x[::-1], None)}
    masked, alone = differentiate(params, {"source": source, "target": told}), differentiate(params, one)
    chex.assert_trees_all_close(masked, alone, rtol=1e-9, atol=1e-12)


# --- objectives of transfer -------------------------------------------------------------------------------------------------------

ENCODER, HEAD, OTHER = domains.dense(4, jnp.tanh), domains.dense(domains.CLASSES), domains.dense(5)
LABELS, LOGITS, EXAMPLES = np.array([0, 1, 2, 1]), domains.rows(4, 3, seed=2), domains.rows(4, 2)
PLAIN_BATCH = Batch(EXAMPLES, LABELS)
TAUGHT = PLAIN_BATCH._replace(y=transfer.Taught(LABELS, LOGITS))
WHOLE, TWO_HEADS = jmeta.compose(ENCODER, HEAD), transfer.branch(ENCODER, {"source": OTHER, "target": HEAD})
ADAPTED = domains.adapted(transfer.coral())
PAIR = {"source": PLAIN_BATCH, "target": Batch(domains.rows(5, 2, seed=3), None)}
CLUSTERED = PLAIN_BATCH._replace(y=domains.softmax(LOGITS))
BEFORE = PLAIN_BATCH._replace(y=transfer.Taught(LABELS, {"source": domains.rows(4, 5, seed=4)}))


def clusters(decoder):
    return lambda key, data: transfer.ClusterParams(ENCODER.init(key, data.x), jnp.asarray(domains.rows(3, 4)), decoder)


# With how the parameters are made, and data.
OBJECTIVES = {
    "supervised": (transfer.supervised(HEAD, domains.CROSS_ENTROPY), HEAD, PLAIN_BATCH),
    "tent": (transfer.tent(HEAD), HEAD, PLAIN_BATCH),
    "co_tuning": (
        transfer.co_tuning(ENCODER, OTHER, HEAD, domains.CROSS_ENTROPY, domains.softmax(domains.rows(3, 5))),
        TWO_HEADS,
        PLAIN_BATCH,
    ),
    "batch_spectral_shrinkage": (
        transfer.batch_spectral_shrinkage(ENCODER, HEAD, domains.CROSS_ENTROPY, strength=1.0),
        WHOLE,
        PLAIN_BATCH,
    ),
    "delta": (
        transfer.delta([ENCODER], HEAD, domains.CROSS_ENTROPY, [domains.rows(2, 4)], strength=1.0),
        jmeta.compose(jmeta.chain([ENCODER]), HEAD),
        PLAIN_BATCH,
    ),
    "distillation": (transfer.distillation(HEAD, domains.CROSS_ENTROPY), HEAD, TAUGHT),
    "distillation without labels": (
        transfer.distillation(HEAD, domains.CROSS_ENTROPY, share=1.0),
        HEAD,
        TAUGHT._replace(y=transfer.Taught(None, LOGITS)),
    ),
    "taught_by": (
        transfer.taught_by(transfer.distillation(HEAD, domains.CROSS_ENTROPY), HEAD, domains.rows(2, 3)),
        HEAD,
        PLAIN_BATCH,
    ),
    "learning_without_forgetting": (
        transfer.learning_without_forgetting(TWO_HEADS, "target", domains.CROSS_ENTROPY),
        TWO_HEADS,
        BEFORE,
    ),
    "domain_adaptation": (ADAPTED.objective, ADAPTED.init, PAIR),
    "deep_embedded_clustering": (transfer.deep_embedded_clustering(ENCODER).objective, clusters(()), CLUSTERED),
    "deep_embedded_clustering with a decoder": (
        transfer.deep_embedded_clustering(ENCODER, domains.dense(2)).objective,
        clusters(domains.rows(4, 2)),
        CLUSTERED,
    ),
}


# What others are made of, and the plain training of one network.
SKELETONS = {"supervised", "taught_by", "domain_adaptation"}


def on_batches(change, data):
    return jax.tree.map(change, data, is_leaf=lambda leaf: isinstance(leaf, Batch))


def padded(batch, strange):
    """The same rows in their order; before, between and behind them masked ones, of strange values."""
    rows = len(batch.x)
    mask = np.tile([False, True, True], rows)
    mask[np.cumsum(mask) > rows] = False
    source = np.maximum(np.cumsum(mask) - 1, 0)
    x, y = estranged(jax.tree.map(lambda leaf: leaf[source], (batch.x, batch.y)), ~mask, strange)
    return Batch(x, y, mask)


def without_rows(batch):
    return estranged(batch, np.ones(len(batch.x), bool), np.nan)._replace(mask=np.zeros(len(batch.x), bool))


def begun(name):
    """An objective that notes how often it is traced and forgets its memory, parameters, and data."""
    (objective, made_by, data), traces = OBJECTIVES[name], []
    params = made_by.init(KEY, data.x) if isinstance(made_by, jmeta.Model) else made_by(KEY, data)

    def loss(params, key, data, *, step=0):
        traces.append(step)
        if not isinstance(objective, jmeta.ObjectiveWithMemory):
            return objective(params, key, data, step=step)
        value, (metrics, _) = objective.loss(params, key, data, objective.init(params, key), step=step)
        return value, metrics

    return loss, params, data, traces


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_a_scalar_of_real_rows_alone_whatever_the_others_hold_and_is_traced_once(x64, name):
    loss, params, data, traces = begun(name)
    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, metrics), slope = differentiate(params, KEY, data)
    assert value.shape == ()
    assert {metric.shape for metric in metrics.values()} == {()}
    assert "present" not in metrics
    assert metrics["loss"] == value
    chex.assert_trees_all_equal_shapes_and_dtypes(slope, params)
    chex.assert_tree_all_finite((metrics, slope))
    assert all(leaf.any() for leaf in jax.tree.leaves(slope))
    for step, strange in enumerate((*STRANGE, 0.0)):
        given = on_batches(lambda batch, strange=strange: padded(batch, strange), data)
        (_, found), of_padded = differentiate(params, KEY, given, step=jnp.asarray(step))
        assert found.pop("present")
        chex.assert_trees_all_close((found, of_padded), (metrics, slope), rtol=1e-9, atol=1e-12)
    assert len(traces) == 2


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_a_task_in_which_nothing_counts_says_nothing(name):
    """It is 0 without a gradient, and a mean over tasks leaves it out."""
    loss, params, data, _ = begun(name)
    whole = on_batches(lambda batch: padded(batch, np.nan), data)
    nothing = on_batches(without_rows, whole)
    tasks = jax.tree.map(lambda *leaves: np.stack(leaves), whole, nothing, whole)

    @jax.jit
    def both(params, tasks):
        keys = jnp.stack([KEY] * 3)
        each = jax.vmap(jax.value_and_grad(loss, has_aux=True), (None, 0, 0))(params, keys, tasks)
        return each, jax.value_and_grad(jmeta.over_tasks(loss), has_aux=True)(params, KEY, tasks)

    ((values, metrics), slopes), ((mean, of_all), slope) = both(params, tasks)
    np.testing.assert_array_equal(metrics.pop("present"), [True, False, True])
    assert not any(leaf[1].any() for leaf in jax.tree.leaves((values, slopes)))
    assert of_all.pop("present")
    first = jax.tree.map(lambda leaf: leaf[0], (values, metrics, slopes))
    # Two tasks alike: their sum in float32, halved.
    chex.assert_trees_all_close((mean, of_all, slope), first, rtol=1e-5, atol=1e-6)


def objectives():
    """The public functions of transfer that make an objective, or a model with one."""

    def makes_one(function):
        made = inspect.signature(function).return_annotation
        return made in (jmeta.Objective, jmeta.ObjectiveWithMemory) or "objective" in getattr(made, "_fields", ())

    return {value.__name__: value for value in vars(transfer).values() if inspect.isfunction(value) and makes_one(value)}


def test_every_objective_of_transfer_has_its_row():
    assert objectives().keys() == {row.split()[0] for row in OBJECTIVES}


@pytest.mark.parametrize("name", sorted(objectives().keys() - SKELETONS))
def test_every_objective_of_a_paper_is_in_the_readme(name):
    path = Path(inspect.getfile(objectives()[name])).relative_to(ROOT)
    assert re.search(rf"^\| `transfer\.{name}` .*(19|20)\d\d.* \| `{path}` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)


# --- every algorithm --------------------------------------------------------------------------------------------------------------

FAMILIES = ("optimization_based", "metric_based", "model_based", "multitask", "unified", "weighting", "aggregation", "transfer")
MAKES = (jmeta.Learner, jmeta.MultitaskModel, jmeta.Weighting, jmeta.Aggregator, transfer.Alignment)
# An aggregator or a model is made with them; they are none themselves.
TOOLS = {"multitask_model", "weighted_by_gramian"}
# Nobody wrote a paper about them.
PLAIN = {"equal_weighting", "independent_networks", "mean", "sum"}


def algorithms():
    """The public functions of the families that give back an algorithm, by name."""
    public = [value for family in FAMILIES for value in vars(importlib.import_module(f"jmeta.{family}")).values()]
    made = [value for value in public if inspect.isfunction(value) and inspect.signature(value).return_annotation in MAKES]
    return {value.__name__: value for value in made if value.__name__ not in TOOLS}


@pytest.mark.parametrize("name", algorithms())
def test_every_algorithm_has_its_rows_and_its_paper(name):
    algorithm = algorithms()[name]
    tested = {row.split()[0] for table in (LEARNERS, WEIGHTINGS, AGGREGATORS, MULTITASK, ALIGNMENTS) for row in table}
    assert name in tested
    path = Path(inspect.getfile(algorithm)).relative_to(ROOT)
    assert re.search(
        rf"^\| .*`((aggregation|transfer)\.)?{name}`.* \| `{path}` \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    said = f"{sys.modules[algorithm.__module__].__doc__} {algorithm.__doc__}"
    assert (re.search(r"\([^()]*(19|20)\d\d", said) is not None) is (name not in PLAIN)


def test_every_algorithm_is_found():
    assert {"maml", "prototypical_networks", "hard_parameter_sharing", "equal_weighting", "pcgrad", "sum"} <= algorithms().keys()
