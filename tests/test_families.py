"""What every weighting, aggregator and multi-task network promises: a new one adds one row. And every algorithm has its row."""

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
