"""A task without anything that counts says nothing: to means, weightings, aggregators, metrics; and options go to tasks by name."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import Batch
from jmeta._chunks import mean_metrics

KEY = jax.random.key(0)
# Of four tasks, the second and the last have nothing that counts.
PRESENT = np.array([True, False, True, False])


def squared(params, key, batch, *, step=0):
    """One task's loss, in which rows may be absent."""
    del key, step
    value = jmeta.score(jmeta.squared_error, jnp.tanh(batch.x @ params["w"]), batch)
    return value, {"loss": value, "first": batch.x[0, 0], "present": batch.mask.any()}


def four_tasks():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(4, 5, 3)), random.normal(size=(4, 5, 2))
    x[~PRESENT], y[~PRESENT] = np.nan, np.nan
    mask = np.zeros((4, 5), bool)
    mask[PRESENT] = np.arange(5) < np.array([[5], [3]])
    return Batch(*map(jnp.asarray, (x, y, mask)))


def params():
    return {"w": jnp.asarray(np.random.default_rng(1).normal(size=(3, 2)))}


def of_task(params, data, index):
    """The loss of one task without its masked rows."""
    rows = np.flatnonzero(data.mask[index])
    return jnp.square(jnp.tanh(data.x[index][rows] @ params["w"]) - data.y[index][rows]).mean()


def of_present(data):
    """Losses, gradients and first inputs of the tasks that are present."""
    each = [jax.value_and_grad(of_task)(params(), data, index) for index in np.flatnonzero(PRESENT)]
    losses, gradients = zip(*each, strict=True)
    return np.array(losses), [gradient["w"] for gradient in gradients], np.asarray(data.x[PRESENT, 0, 0])


def filled(data):
    """As a learner would do it."""
    from jmeta._rows import fill_batch

    return jax.vmap(fill_batch)(data)


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_a_mean_over_tasks_counts_those_that_are_present(x64, micro_batch):
    data = four_tasks()
    losses, gradients, first = of_present(data)
    differentiate = jax.jit(jmeta.value_and_gradient(jmeta.over_tasks(squared), micro_batch=micro_batch))
    (loss, metrics), gradient = differentiate(params(), KEY, filled(data))
    np.testing.assert_allclose((loss, metrics["loss"]), losses.mean(), rtol=1e-12)
    np.testing.assert_allclose(metrics["first"], first.mean(), rtol=1e-12)
    np.testing.assert_allclose(gradient["w"], np.mean(gradients, axis=0), rtol=1e-10, atol=1e-14)
    assert metrics["present"]
    nothing = filled(data._replace(mask=jnp.zeros((4, 5), bool)))
    (loss, metrics), gradient = differentiate(params(), KEY, nothing)
    assert (loss, metrics["loss"], metrics["first"], bool(metrics["present"])) == (0, 0, 0, False)
    assert not gradient["w"].any()


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_a_mixture_adds_up_the_means_of_the_kinds_that_are_present(x64, micro_batch):
    """Of three kinds one is absent altogether; its metrics say nothing, which is NaN."""
    data = four_tasks()
    losses, gradients, _ = of_present(data)
    nobody = filled(jax.tree.map(lambda leaf: leaf[1], data))
    objectives = {"many": jmeta.over_tasks(squared), "one": squared, "nobody": squared}
    single = jax.tree.map(lambda leaf: leaf[0], data)
    mixture = jmeta.mixture(objectives, {"one": 0.5, "nobody": 7.0})
    differentiate = jax.jit(jmeta.value_and_gradient(mixture, micro_batch=micro_batch))
    kinds = {"many": filled(data), "one": single, "nobody": nobody}
    (loss, metrics), gradient = differentiate(params(), KEY, kinds)
    np.testing.assert_allclose(loss, losses.mean() + 0.5 * losses[0], rtol=1e-12)
    np.testing.assert_allclose(gradient["w"], np.mean(gradients, axis=0) + 0.5 * gradients[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose([metrics["many/loss"], metrics["one/loss"]], [losses.mean(), losses[0]], rtol=1e-12)
    assert np.isnan(metrics["nobody/loss"])
    assert metrics["present"]
    values, metrics = jmeta.task_losses(objectives)(params(), KEY, kinds)
    np.testing.assert_allclose(values, [losses[0], 0, losses[1], 0, 0, losses[0]], rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], np.mean([*losses, losses[0]]), rtol=1e-12)
    np.testing.assert_array_equal(metrics["present"], [*PRESENT, False, True])


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_reptile_does_not_follow_weight_decay_in_a_task_without_rows(x64, micro_batch):
    """Its inner optimiser moves without a gradient too; of a task in which nothing counts the distance is 0 all the same."""
    model = jmeta.from_functions(lambda key, x: {"w": jnp.ones((3, 2))}, lambda params, x: jnp.tanh(x @ params["w"]))
    inner = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(0.1))
    learner, data = jmeta.reptile(model, jmeta.squared_error, inner, num_steps=2), four_tasks()
    episodes = jmeta.Episode(data, data)
    differentiate = jax.jit(jmeta.value_and_gradient(jmeta.over_tasks(learner.loss), micro_batch=micro_batch))
    (loss, metrics), gradient = differentiate(params(), KEY, episodes)
    present = jax.tree.map(lambda leaf: leaf[PRESENT], episodes)
    (alone, known), expected = differentiate(params(), KEY, present)
    assert alone > 1e-3
    chex.assert_trees_all_close((loss, metrics, gradient), (alone, known, expected), rtol=1e-12)


# --- aggregators ------------------------------------------------------------------------------------------------------------------


def test_a_step_of_surgery_sees_the_tasks_that_are_present(x64):
    """Their gradients, which of them there are, and the mean of their losses."""
    data, seen = four_tasks(), {}

    def combine(gradients, state, *, losses, present, key):
        seen.update(present=present, losses=losses, gradients=gradients)
        return jax.tree.map(lambda leaf: leaf.sum(axis=0), gradients), state

    optimizer = jmeta.aggregate(jmeta.Aggregator(lambda tasks: (), combine), optax.sgd(1.0))
    state = jmeta.init_state(params(), optimizer, KEY, tasks=4)
    after, metrics = jmeta.make_step(jmeta.task_gradients(squared), optimizer)(state, filled(data))
    losses, gradients, _ = of_present(data)
    np.testing.assert_array_equal(seen["present"], PRESENT)
    np.testing.assert_allclose(seen["losses"], [losses[0], 0, losses[1], 0], rtol=1e-12)
    assert not np.asarray(seen["gradients"]["w"])[~PRESENT].any()
    np.testing.assert_allclose(after.params["w"], params()["w"] - np.sum(gradients, axis=0), rtol=1e-10)
    np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-12)
    assert metrics["present"].shape == ()


# --- weightings -------------------------------------------------------------------------------------------------------------------


def two_scales(params, key, data, *, step=0):
    """Two tasks that share nothing; the second has a label in some batches alone."""
    del key, step
    weights = data["weights"]
    errors = {name: Batch(None, data[name][None], None, weights[name][None]) for name in ("often", "rare")}
    losses = jnp.stack([jmeta.score(jmeta.squared_error, params[name][None], errors[name]) for name in ("often", "rare")])
    present = jnp.stack([weights[name] > 0 for name in ("often", "rare")])
    return losses, {"loss": losses.mean(), "present": present}


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
def test_a_rarely_labelled_task_has_the_variance_of_one_that_is_always_labelled(optimizer):
    """After its n-th label: the log-variance, the state of its optimiser and the parameter, bit for bit."""
    weighting, inner = jmeta.uncertainty_weighting(optimizer, initial={"rare": 0.7}), optax.sgd(0.05)
    step = jmeta.make_step(two_scales, inner, weighting=weighting)
    targets = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)

    @jax.jit
    def run(labels, labelled):
        state = jmeta.init_state(
            {"often": jnp.ones(()), "rare": jnp.ones(())}, inner, KEY, weighting=weighting, tasks=["often", "rare"]
        )

        def body(state, now):
            (often, rare), there = now
            data = {"often": often, "rare": rare, "weights": {"often": jnp.ones(()), "rare": there}}
            state, _ = step(state, data)
            own = jax.tree.map(lambda leaf: leaf[1], (state.memory.log_variances, state.memory.optimizer_state))
            return state, (own, state.params["rare"], state.memory.log_variances[0])

        return jax.lax.scan(body, state, (labels, labelled))[1]

    always = run(jnp.asarray(np.pad(targets, ((0, 108), (0, 0)))), jnp.ones(120))
    rows = np.full((120, 2), np.nan, np.float32)
    rows[::10], rows[:, 0] = targets, 1.0
    seldom = run(jnp.asarray(rows), jnp.asarray(np.arange(120) % 10 == 0, jnp.float32))
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[::10], seldom[:2]), jax.tree.map(lambda leaf: leaf[:12], always[:2]))
    # Between two labels nothing of it moves, while the other task's variance does.
    chex.assert_trees_all_equal(
        jax.tree.map(lambda leaf: leaf[9::10], seldom[:2]), jax.tree.map(lambda leaf: leaf[::10], seldom[:2])
    )
    assert len(np.unique(seldom[2])) > 100
    assert len(np.unique(always[0][0][:12])) == 12


@pytest.mark.parametrize("labelled", [False, True], ids=["absent", "solved"])
def test_a_loss_of_exactly_zero_for_long_ends_in_no_nan(labelled):
    """Absent it keeps its log-variance; where it is there, the log-variance falls without end, and the weight stays a number."""
    weighting, inner = jmeta.uncertainty_weighting(optax.sgd(1.0)), optax.sgd(0.05)
    step = jmeta.make_step(two_scales, inner, weighting=weighting)
    start = jmeta.init_state({"often": jnp.ones(()), "rare": jnp.zeros(())}, inner, KEY, weighting=weighting, tasks=2)
    data = {"often": jnp.zeros(()), "rare": jnp.zeros(()), "weights": {"often": jnp.ones(()), "rare": jnp.float32(labelled)}}
    state, losses = jax.jit(lambda start: jax.lax.scan(lambda state, _: step(state, data), start, length=2000))(start)
    chex.assert_tree_all_finite((state.params, state.memory, losses))
    assert state.params["rare"] == 0
    assert (state.memory.log_variances[1] == 0) is not labelled


def test_a_weighting_is_told_who_is_present_and_gives_the_others_nothing(x64):
    """Whatever it weighs an absent task with, also with infinity; and what it observes after the step says it again."""
    data, told, values = four_tasks(), [], []

    def update(updates, state, params=None, *, value, **given):
        values.append(value)
        return jax.tree.map(jnp.negative, updates), state

    def weigh(state, losses, *, present, key, pullback):
        told.append(present)
        return jnp.where(present, 1.0, jnp.inf), state

    def observe(state, losses, *, present):
        told.append(present)
        return losses

    weighting = jmeta.Weighting(jnp.zeros, weigh, observe)
    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), update)
    state = jmeta.init_state(params(), optimizer, KEY, tasks=4, weighting=weighting)
    step = jmeta.make_step(jmeta.task_losses(squared), optimizer, weighting=weighting)
    after, metrics = step(state, filled(data))
    losses, gradients, _ = of_present(data)
    np.testing.assert_allclose(after.params["w"], params()["w"] - np.sum(gradients, axis=0), rtol=1e-10)
    np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-12)
    np.testing.assert_allclose(values, [losses.sum()], rtol=1e-12)
    np.testing.assert_array_equal(told, [PRESENT, PRESENT])
    assert after.memory.shape == (4,)
    assert not after.memory[~PRESENT].any()


# --- training ---------------------------------------------------------------------------------------------------------------------


def test_steps_in_which_nothing_counted_are_left_out_of_what_fit_logs():
    """Of two tasks one is labelled in every third step, and in every sixth there is no label at all."""
    count = jmeta.Task(jmeta.from_functions(lambda key, x: jnp.zeros(()), lambda params, x: x[:, 0] + params), jmeta.squared_error)
    model = jmeta.hard_parameter_sharing(
        jmeta.from_functions(lambda key, x: (), lambda params, x: x), {"often": count, "rare": count}
    )
    there = {"often": lambda step: step % 6 != 5, "rare": lambda step: step % 3 == 0}

    def data(step):
        x = np.full((2, 1), step, np.float32)
        labels = {name: np.full(2, 0.0 if known(step) else np.nan, np.float32) for name, known in there.items()}
        weights = {name: np.full(2, float(known(step)), np.float32) for name, known in there.items()}
        return Batch(x, labels, None, weights)

    # Nothing moves, so that the loss of step k is k squared.
    optimizer = optax.sgd(0.0)
    weighting = jmeta.equal_weighting()
    state = jmeta.init_state(
        jmeta.EncoderHead((), {name: jmeta.EncoderHead((), jnp.zeros(())) for name in there}),
        optimizer,
        KEY,
        tasks=model.names,
        weighting=weighting,
    )
    logs = []
    step = jmeta.make_step(model.joint_losses, optimizer, weighting=weighting)
    options = {"num_steps": 12, "callbacks": [lambda step, metrics, state: logs.append(metrics)]}
    jmeta.fit(step, state, data, steps_per_chunk=6, **options)
    jmeta.fit(step, state._replace(step=jnp.int32(4)), data, steps_per_chunk=1, **options | {"num_steps": 6})
    squares = np.arange(12.0) ** 2
    for start, log in zip((0, 6), logs, strict=False):
        steps = np.arange(start, start + 6)
        means = {name: np.mean([squares[step] for step in steps if known(step)]) for name, known in there.items()}
        assert log["often/loss"] == pytest.approx(means["often"], rel=1e-6)
        assert log["rare/loss"] == pytest.approx(means["rare"], rel=1e-6)
        assert log["loss"] == pytest.approx(means["often"], rel=1e-6)
        assert "present" not in log
    # A chunk without a label: no number, and no complaint about a loss that is not finite.
    assert logs[2]["loss"] == 16
    assert np.isnan([logs[3]["loss"], logs[3]["often/loss"], logs[3]["rare/loss"]]).all()


def test_means_of_several_seeds_leave_out_each_seed_s_absent_steps():
    logs = {
        "loss": np.array([[1.0, 9.0], [3.0, 0.0], [0.0, 0.0]]),
        "kind/loss": np.array([[np.nan, 9.0], [3.0, 0.0], [0.0, 0.0]]),
        "present": np.array([[True, True], [True, False], [False, False]]),
    }
    assert mean_metrics(logs) == {"loss": [2.0, 9.0], "kind/loss": [3.0, 9.0]}


# --- options of tasks, and their number -------------------------------------------------------------------------------------------


def uncertainty(**options):
    return jmeta.uncertainty_weighting(optax.sgd(0.1), **options)


def state_of(weighting, tasks):
    return jmeta.init_state({"w": jnp.zeros(())}, optax.sgd(0.1), KEY, weighting=weighting, tasks=tasks).memory


def test_options_of_a_task_go_by_name_whatever_the_order():
    weighting = uncertainty(classification={"species": True}, initial={"species": 2.0, "age": -1.0})
    for names in (["species", "age", "weight"], ("weight", "species", "age"), ["age", "species", "weight"]):
        state = state_of(weighting, names)
        # The order of the losses is alphabetical.
        np.testing.assert_array_equal(state.factors, [0.5, 1.0, 0.5])
        np.testing.assert_array_equal(state.log_variances, [-1.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("options", "tasks", "sentence"),
    [
        (
            {"classification": {"kind": True}},
            ["age", "species"],
            r"classification must name tasks among \['age', 'species'\]; got \['kind'\]",
        ),
        ({"initial": {"kind": 1.0}}, ["age", "species"], r"initial must name tasks among \['age', 'species'\]; got \['kind'\]"),
        (
            {"initial": {"age": 1.0}},
            2,
            r"initial is given by name, so the tasks need names; got 2 tasks without: pass tasks=\[names\]",
        ),
        ({"classification": [True]}, 2, "classification must have one entry per task; got 1 for 2 tasks"),
        ({"initial": [1.0, 2.0, 3.0]}, ["age", "species"], "initial must have one entry per task; got 3 for 2 tasks"),
        ({"initial": [1.0, 2.0]}, ["species", "age"], r"initial must be given by name for tasks \['species', 'age'\]"),
        ({}, 0, "tasks must be a whole number of at least 1, or their names; got 0"),
        ({}, 2.5, "tasks must be a whole number of at least 1, or their names; got 2.5"),
        ({}, True, "tasks must be a whole number of at least 1, or their names; got True"),
        ({}, [], r"tasks must be a whole number of at least 1, or their names; got \[\]"),
        ({}, "age", "tasks must be their number or different names; got 'age'"),
        ({}, ["age", "age"], r"tasks must be their number or different names; got \['age', 'age'\]"),
        ({}, [1, 2], r"tasks must be their number or different names; got \[1, 2\]"),
    ],
)
def test_names_and_numbers_of_tasks_that_do_not_fit_are_refused(options, tasks, sentence):
    with pytest.raises(ValueError, match=sentence):
        state_of(uncertainty(**options), tasks)


def three(params, key, data, *, step=0):
    losses = params["w"] * data
    return losses, {"loss": losses.mean()}


def smoothed():
    """An aggregator that keeps a number for each task."""
    return jmeta.Aggregator(
        lambda tasks: jnp.zeros(tasks if isinstance(tasks, int) else len(tasks)),
        lambda gradients, state, *, losses, present, key: (jax.tree.map(lambda leaf: leaf.mean(axis=0), gradients), state),
    )


WEIGHTED = {"by position": (uncertainty(initial=1.0), None), "by name": (uncertainty(classification={"a": True}), "abcd")}


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_another_number_of_losses_than_of_tasks_is_refused_at_the_first_step(kind, tasks):
    weighting, names = WEIGHTED[kind]
    optimizer = optax.sgd(0.1)
    given = tasks if names is None else [*names[:tasks]]
    step = jmeta.make_step(three, optimizer, weighting=weighting)
    state = jmeta.init_state({"w": jnp.ones(())}, optimizer, KEY, weighting=weighting, tasks=given)
    with pytest.raises(ValueError, match=r"init_state must be given tasks=3, one for each loss; got a state of shapes \["):
        step(state, jnp.ones(3))
    right = jmeta.init_state({"w": jnp.ones(())}, optimizer, KEY, weighting=weighting, tasks=3 if names is None else [*"cab"])
    assert step(right, jnp.ones(3))[0].step == 1


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_another_number_of_gradients_than_of_tasks_is_refused_at_the_first_step(tasks):
    optimizer = jmeta.aggregate(smoothed(), optax.adam(0.1))
    step = jmeta.make_step(jmeta.joint_gradients(three), optimizer)
    with pytest.raises(ValueError, match=r"init_state must be given tasks=3, one for each loss; got a state of shapes \["):
        step(jmeta.init_state({"w": jnp.ones(())}, optimizer, KEY, tasks=tasks), jnp.ones(3))
    assert step(jmeta.init_state({"w": jnp.ones(())}, optimizer, KEY, tasks=["a", "b", "c"]), jnp.ones(3))[0].step == 1
