"""fit against a plain Python loop, and everything that happens between two chunks."""

import functools
import io
import json
import signal
import sys
import threading
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import jmeta
from jmeta import checkpointing
from jmeta._reporting import progress_bar, read_metrics, stop_requests
from jmeta._steps import step_keys

# The compiled loop may fuse and round a step otherwise than the step alone: a few float32 ulps a step.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
OPTIMIZER = optax.adam(0.1)


def squared_distance(params, key, data, *, step=0):
    del key, step
    x, y = data
    value = jnp.square(x @ params["w"] + params["b"] - y).mean()
    return value, {"loss": value, "largest": jnp.abs(params["w"]).max()}


def sampler():
    weights = jnp.array([1.0, -2.0, 0.5])

    def sample(data, key):
        x = jax.random.normal(key, (8, 3))
        return x, x @ data

    return jmeta.Sampler(weights, sample)


def initial(seed=0, optimizer=OPTIMIZER):
    return jmeta.init_state({"w": jnp.zeros(3), "b": jnp.zeros(())}, optimizer, jax.random.key(seed))


def run(num_steps=10, objective=squared_distance, optimizer=OPTIMIZER, state=None, tasks=None, **options):
    options = {"steps_per_chunk": 4} | options
    state = initial(optimizer=optimizer) if state is None else state
    return jmeta.fit(jmeta.make_step(objective, optimizer), state, tasks or sampler(), num_steps=num_steps, **options)


def walk(params, key, data, *, step=0):
    """Moves w by exactly one learning rate a step."""
    del key, data, step
    return -params["w"], {"loss": -params["w"]}


def walker(**options):
    optimizer, state = optax.sgd(0.125), jmeta.init_state({"w": jnp.zeros(())}, optax.sgd(0.125), jax.random.key(0))
    tasks = jmeta.Sampler((), lambda data, key: data)
    return run(objective=walk, optimizer=optimizer, state=state, tasks=tasks, **options)


def distance_from_five_steps(params):
    return {"loss": jnp.abs(params["w"] - 5 * 0.125)}


def data_of(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_equal(first, second):
    chex.assert_trees_all_equal(*(jax.tree.map(data_of, tree) for tree in (first, second)), strict=True)


def assert_close(first, second):
    chex.assert_trees_all_close(first, second, **FLOAT32)


def plain_loop(state, num_steps):
    step, tasks, logs = jax.jit(jmeta.make_step(squared_distance, OPTIMIZER)), sampler(), []
    for _ in range(num_steps):
        state, metrics = step(state, tasks.sample(tasks.data, step_keys(state)[1]))
        logs.append(jax.device_get(metrics))
    return state, logs


def test_fit_is_a_python_loop_of_the_step(tmp_path):
    expected, logs = plain_loop(initial(), 10)
    found = run(directory=tmp_path).state
    assert int(found.step) == 10
    assert_close((found.params, found.optimizer_state), (expected.params, expected.optimizer_state))
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 10]
    for line, chunk in zip(lines, (logs[:4], logs[4:8], logs[8:]), strict=True):
        for name in ("loss", "largest"):
            np.testing.assert_allclose(line[name], np.mean([metrics[name] for metrics in chunk]), **FLOAT32)


def test_chunks_do_not_change_the_result():
    assert_equal(run(steps_per_chunk=3).state, run(steps_per_chunk=100).state)


INJECTED = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)


# A bias from a Python number is weakly typed until the first step.
@pytest.mark.parametrize(("optimizer", "bias"), [(OPTIMIZER, np.float32(0)), (INJECTED, np.float32(0)), (OPTIMIZER, 0.0)])
def test_one_trace_with_a_shorter_last_chunk(optimizer, bias):
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(squared_distance, n=1)
    state = jmeta.init_state({"w": jnp.zeros(3), "b": jnp.asarray(bias)}, optimizer, jax.random.key(0))
    run(11, objective=counted, optimizer=optimizer, state=state)


def host_copy(seed=0):
    """The data that the device draws at each step of a training from ``seed``, as numpy arrays."""
    tasks, state = sampler(), initial(seed)
    sample = jax.jit(lambda step: tasks.sample(tasks.data, step_keys(state._replace(step=step))[1]))
    return lambda step: jax.device_get(sample(jax.device_put(np.int32(step))))


def test_host_data_is_used_as_device_data(tmp_path):
    asked = []
    data = host_copy()

    def tasks(step):
        asked.append(step)
        return data(step)

    found = run(tasks=tasks, directory=tmp_path / "host")
    expected = run(directory=tmp_path / "device")
    assert asked == list(range(10))
    assert_close(found.state.params, expected.state.params)
    host, device = (read_metrics(tmp_path / name) for name in ("host", "device"))
    assert_close(host, device)


def test_host_data_is_prefetched_one_ahead():
    called = [threading.Event() for _ in range(3)]
    data, seen = host_copy(), []

    def tasks(step):
        called[step].set()
        return data(step)

    def callback(step, metrics, state):
        if step == 1:
            # The main thread is here, so nothing but the prefetching can ask for step 1, and nothing may ask for step 2.
            seen.append((called[1].wait(60), called[2].is_set()))

    run(3, tasks=tasks, steps_per_chunk=1, callbacks=[callback])
    assert seen == [(True, False)]


def test_an_exception_of_the_host_surfaces_and_what_was_done_stays(tmp_path):
    data = host_copy()

    def tasks(step):
        if step == 6:
            raise OSError("the disk is gone")
        return data(step)

    with pytest.raises(OSError, match="the disk is gone"):
        run(tasks=tasks, directory=tmp_path)
    assert_equal(run(tasks=data, directory=tmp_path, resume=True), run(tasks=data))


def test_host_compiles_one_step():
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(squared_distance, n=1)
    run(11, objective=counted, tasks=host_copy())


def validation(params):
    return {"loss": jnp.square(params["w"] - jnp.array([0.3, -0.3, 0.3])).sum(), "parts": params["w"]}


@pytest.mark.parametrize("tasks", [None, host_copy(0)], ids=["device", "host"])
def test_several_seeds_are_as_many_trainings(tasks, tmp_path):
    states = jax.vmap(lambda seed: jmeta.init_state({"w": jnp.zeros(3), "b": jnp.zeros(())}, OPTIMIZER, jax.random.key(seed)))(
        jnp.arange(3)
    )
    options = {"tasks": tasks, "validation": validation, "steps_per_chunk": 2}
    together = run(state=states, directory=tmp_path / "all", **options)
    for seed in range(3):
        alone = run(state=initial(seed), directory=tmp_path / str(seed), **options)
        assert int(together.best.step[seed]) == int(alone.best.step) < 10
        mine = jax.tree.map(lambda leaf, seed=seed: leaf[seed], (together.state.params, together.best.params, together.best.loss))
        assert_close(mine, (alone.state.params, alone.best.params, alone.best.loss))
        for line, expected in zip(read_metrics(tmp_path / "all"), read_metrics(tmp_path / str(seed)), strict=True):
            assert_close({name: value[seed] for name, value in line.items() if name != "step"}, _without_step(expected))


def _without_step(line):
    return {name: value for name, value in line.items() if name != "step"}


def test_several_seeds_resume(tmp_path):
    def start():
        return jax.vmap(functools.partial(jmeta.init_state, {"w": jnp.zeros(3), "b": jnp.zeros(())}, OPTIMIZER))(
            jax.random.split(jax.random.key(0), 2)
        )

    run(4, state=start(), validation=validation, directory=tmp_path)
    resumed = run(state=start(), validation=validation, directory=tmp_path, resume=True)
    assert_equal(resumed, run(state=start(), validation=validation))


def test_validation_keeps_the_best_step_and_resume_restores_it(tmp_path):
    first = walker(num_steps=7, steps_per_chunk=1, validation=distance_from_five_steps, directory=tmp_path)
    assert int(first.best.step) == 5
    assert float(first.best.params["w"]) == 0.625
    assert float(first.best.loss) == 0
    assert float(first.state.params["w"]) == 0.875
    last = walker(num_steps=9, steps_per_chunk=1, validation=distance_from_five_steps, directory=tmp_path, resume=True)
    assert_equal(last.best, first.best)
    assert float(last.state.params["w"]) == 1.125
    losses = [line["validation/loss"] for line in read_metrics(tmp_path)]
    assert losses == [abs(0.125 * (step - 5)) for step in range(1, 10)]


@pytest.mark.parametrize("every", [3, 4, 100])
def test_validation_and_checkpoints_are_due_at_the_ends_of_chunks(every, tmp_path):
    options = {"validate_every": every, "checkpoint_every": every, "directory": tmp_path}
    walker(num_steps=10, steps_per_chunk=2, validation=distance_from_five_steps, **options)
    expected = {3: [4, 6, 10], 4: [4, 8, 10], 100: [10]}[every]
    assert [line["step"] for line in read_metrics(tmp_path) if "validation/loss" in line] == expected
    assert checkpointing.steps(tmp_path / "checkpoints") == [0, *expected][-2:]


def test_a_validation_that_is_nan_is_never_the_best():
    found = walker(num_steps=3, steps_per_chunk=1, validation=lambda params: {"loss": jnp.where(params["w"] > 0.2, jnp.nan, 1.0)})
    assert int(found.best.step) == 1


def test_the_first_of_equal_validations_is_the_best():
    found = walker(num_steps=4, steps_per_chunk=1, validation=lambda params: {"loss": 1.0})
    assert int(found.best.step) == 1


def test_where_no_validation_is_finite_nothing_is_the_best(tmp_path):
    with pytest.warns(UserWarning, match="no validation loss was finite, so no step could be chosen as the best"):
        found = walker(num_steps=3, validation=lambda params: {"loss": jnp.nan}, directory=tmp_path)
    assert found.best is None
    # What is loaded is then the last.
    assert_equal(jmeta.load_params(tmp_path, found.state.params), found.state.params)


def test_a_seed_without_a_finite_validation_has_its_last_state():
    states = jax.vmap(lambda seed: initial()._replace(key=jax.random.key(seed)))(jnp.arange(2))
    calls = []

    def of_the_first_alone(params):
        calls.append(1)
        return {"loss": jnp.abs(params["w"]).sum() if len(calls) % 2 else jnp.inf}

    with pytest.warns(UserWarning, match=r"no validation loss of seeds \[1\] was finite"):
        found = run(state=states, validation=of_the_first_alone, steps_per_chunk=5)
    assert found.best.step.tolist() == [5, 10]
    assert np.isfinite(found.best.loss).tolist() == [True, False]
    np.testing.assert_array_equal(found.best.params["w"][1], found.state.params["w"][1])


@pytest.mark.parametrize("metrics", [{"accuracy": 1.0}, {"loss": np.ones(2)}])
def test_a_validation_without_a_loss_is_refused(metrics):
    with pytest.raises(ValueError, match="validation must give a scalar metric named loss; got"):
        walker(num_steps=2, validation=lambda params: metrics)


def test_lines_are_strict_json_with_the_loss_first(tmp_path):
    def objective(params, key, data, *, step=0):
        value, _ = squared_distance(params, key, data, step=step)
        return value, {"all": params["w"].astype(jnp.bfloat16), "infinite": jnp.inf, "mixed": jnp.array([1.0, jnp.nan])}

    run(5, objective=objective, directory=tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["step", "loss", "all", "infinite", "mixed"]] * 2
    assert [line["step"] for line in lines] == [4, 5]
    assert lines[0]["infinite"] is None
    assert lines[0]["mixed"] == [1.0, None]
    assert np.shape(lines[0]["all"]) == (3,)


@pytest.mark.parametrize("tasks", [None, host_copy(0)], ids=["device", "host"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tasks, tmp_path):
    def objective(params, key, data, *, step=0):
        value, metrics = squared_distance(params, key, data)
        value = jnp.where(step == 6, jnp.nan, value)
        return value, metrics | {"loss": value}

    with pytest.raises(FloatingPointError, match=r"the loss is not finite at step 7; got nan: .* last checkpoint"):
        run(objective=objective, tasks=tasks, directory=tmp_path)
    assert checkpointing.steps(tmp_path / "checkpoints") == [0, 4]
    assert [line["step"] for line in read_metrics(tmp_path)] == [4]
    assert_close(run(tasks=tasks, directory=tmp_path, resume=True).state.params, run(tasks=tasks).state.params)


def test_a_parameter_that_is_not_finite_stops():
    def objective(params, key, data, *, step=0):
        value, metrics = squared_distance(params, key, data)
        # 0, with the derivative 0 / 0.
        return value + jnp.sqrt(0 * params["b"]), metrics

    with pytest.raises(FloatingPointError, match="a parameter is not finite after step 1"):
        run(objective=objective, steps_per_chunk=1)


def test_the_loss_is_known_without_a_metric():
    def objective(params, key, data, *, step=0):
        value, _ = squared_distance(params, key, data)
        return jnp.where(step == 2, jnp.inf, value), {}

    with pytest.raises(FloatingPointError, match="the loss is not finite at step 3; got inf"):
        run(objective=objective)


def test_a_directory_holds_one_run(tmp_path):
    run(4, directory=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="already holds a run; resume it or give another directory"):
        run(10, directory=tmp_path)
    (tmp_path / "metrics.jsonl").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="already holds a run"):
        run(10, directory=tmp_path)
    assert (tmp_path / "moved").read_bytes() == before


def test_a_run_that_failed_before_its_first_line_may_be_started_again(tmp_path):
    def broken(params, key, data, *, step=0):
        raise RuntimeError("a mistake in the loss")

    with pytest.raises(RuntimeError, match="a mistake in the loss"):
        run(objective=broken, directory=tmp_path)
    assert_equal(run(directory=tmp_path), run())


def test_a_job_that_may_be_interrupted_is_always_started_with_resume(tmp_path):
    first = run(4, directory=tmp_path / "new", resume=True)
    assert_equal(first, run(4))
    assert_equal(run(directory=tmp_path / "new", resume=True), run())
    with pytest.raises(ValueError, match="directory must be given to resume; got None"):
        run(resume=True)


def test_resume_of_another_training_is_refused(tmp_path):
    run(4, directory=tmp_path)
    with pytest.raises(ValueError, match=r"the same model, optimiser, seeds and validation; got .*expected"):
        run(directory=tmp_path, resume=True, validation=validation)


def test_resume_of_a_finished_run_returns_at_once(tmp_path):
    expected = run(validation=validation, directory=tmp_path)

    def never(*arguments, **options):
        raise AssertionError("a finished run must not be traced")

    before = (tmp_path / "metrics.jsonl").read_bytes()
    found = run(objective=never, validation=never, directory=tmp_path, resume=True)
    assert_equal(found, expected)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert_equal(run(objective=never, state=expected.state).state, expected.state)


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_crash_at_a_checkpoint_is_not_seen_after_resuming(when, tmp_path, monkeypatch):
    expected = run(validation=validation, directory=tmp_path / "whole")
    save = checkpointing.save

    def crash(directory, step, tree):
        if step == 8:
            if when == "while":
                (directory / ".partial-8").mkdir()
                (directory / ".partial-8" / "manifest.json").write_text("{")
                with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
                    file.write('{"step": 10, "lo')
            raise MemoryError
        return save(directory, step, tree)

    monkeypatch.setattr(checkpointing, "save", crash)
    with pytest.raises(MemoryError):
        run(validation=validation, directory=tmp_path / "cut")
    monkeypatch.undo()
    assert read_metrics(tmp_path / "cut")[-1]["step"] == 8
    assert_equal(run(validation=validation, directory=tmp_path / "cut", resume=True), expected)
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert not list((tmp_path / "cut" / "checkpoints").glob(".*"))


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_saves_and_stops_between_chunks(number, error, tmp_path):
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def callback(step, metrics, state):
        if step == 4:
            signal.raise_signal(number)

    with pytest.raises(error) as stopped:
        run(callbacks=[callback], checkpoint_every=100, directory=tmp_path)
    assert error is KeyboardInterrupt or stopped.value.code == 143
    assert checkpointing.steps(tmp_path / "checkpoints") == [0, 4]
    assert {one: signal.getsignal(one) for one in before} == before
    assert_equal(run(directory=tmp_path, resume=True), run())


def test_the_second_signal_stops_at_once():
    with stop_requests() as requested:
        signal.raise_signal(signal.SIGINT)
        assert requested() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_fit_works_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    assert_equal(found[0], run())


def test_callbacks_are_told_each_chunk():
    told = []
    run(callbacks=[lambda step, metrics, state: told.append((step, int(state.step), sorted(metrics)))])
    assert told == [(4, 4, ["largest", "loss"]), (8, 8, ["largest", "loss"]), (10, 10, ["largest", "loss"])]


def test_what_the_caller_passed_stays_the_callers():
    params, key = {"w": jnp.zeros(3), "b": jnp.zeros(())}, jax.random.key(0)
    state = jmeta.init_state(params, OPTIMIZER, key)
    first, second = run(state=state), run(state=state)
    assert_equal(first, second)
    assert_equal(state, jmeta.init_state(params, OPTIMIZER, key))


def test_an_optimizer_that_keeps_the_parameters_can_be_trained():
    # schedule_free keeps the parameters themselves at first: one buffer must not be given away twice.
    optimizer = optax.contrib.schedule_free(optax.sgd(0.1), learning_rate=0.1)
    found = run(optimizer=optimizer)
    assert int(found.state.step) == 10


def test_a_model_without_parameters_can_be_run():
    def objective(params, key, data, *, step=0):
        return jnp.square(data[1]).mean(), {}

    found = run(objective=objective, state=jmeta.init_state({}, OPTIMIZER, jax.random.key(0)))
    assert int(found.state.step) == 10


@pytest.mark.parametrize("tasks", [None, host_copy(0)], ids=["device", "host"])
def test_the_steady_state_moves_nothing_between_host_and_device_implicitly(tasks):
    def guard(step, metrics, state):
        if step == 4:
            jax.config.update("jax_transfer_guard", "disallow")

    try:
        found = run(tasks=tasks, callbacks=[guard])
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    assert int(found.state.step) == 10


def test_no_tracer_leaks():
    with jax.checking_leaks():
        run(5, validation=validation)


@pytest.mark.parametrize("name", ["num_steps", "steps_per_chunk", "validate_every", "checkpoint_every"])
def test_counts_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got 0"):
        run(**{name: 0})


def test_a_directory_that_cannot_be_written_is_noticed_before_training(tmp_path):
    (tmp_path / "file").write_text("")

    def never(step):
        raise AssertionError("training must not begin")

    with pytest.raises(NotADirectoryError, match="file"):
        run(tasks=never, directory=tmp_path / "file" / "run")


def test_a_step_is_made_of_parts_that_fit():
    weighting, aggregation = (
        jmeta.weighting.equal_weighting(),
        jmeta.aggregation.aggregate(jmeta.aggregation.sum(), optimizer=OPTIMIZER),
    )
    with pytest.raises(ValueError, match="exclude each other"):
        jmeta.make_step(squared_distance, aggregation, weighting=weighting)
    with pytest.raises(ValueError, match="micro_batch works on a scalar objective"):
        jmeta.make_step(squared_distance, OPTIMIZER, weighting=weighting, micro_batch=1)
    with pytest.raises(ValueError, match=r"tasks must be given with a weighting or aggregate\(...\).*got None"):
        jmeta.init_state({}, OPTIMIZER, jax.random.key(0), weighting=weighting)
    for tasks in (0, [], ["a", "a"], "ab"):
        with pytest.raises(
            ValueError, match=r"tasks must be (a whole number of at least 1, or their names|their number or different names); got"
        ):
            jmeta.init_state({}, OPTIMIZER, jax.random.key(0), weighting=weighting, tasks=tasks)
    for gradients in (jmeta.task_gradients(squared_distance), jmeta.joint_gradients(squared_distance)):
        with pytest.raises(ValueError, match="optimizer must be aggregate"):
            jmeta.make_step(gradients, OPTIMIZER)
    remembering = jmeta.ObjectiveWithMemory(lambda params, key: (), squared_distance)
    with pytest.raises(ValueError, match="weighting and an objective with a memory exclude each other"):
        jmeta.init_state({}, OPTIMIZER, jax.random.key(0), weighting=weighting, tasks=2, objective=remembering)
    for options in ({"weighting": weighting}, {"micro_batch": 1}):
        with pytest.raises(ValueError, match=r"memory|micro_batch works on a scalar objective"):
            jmeta.make_step(remembering, OPTIMIZER, **options)


def test_tasks_that_are_neither_are_refused():
    with pytest.raises(ValueError, match="tasks must be a Sampler or a function step -> data; got dict"):
        run(tasks={"x": jnp.ones(3)})


def draw(console, enabled=None):
    with progress_bar(20, enabled, console) as show:
        show(5, {"loss": 0.75, "accuracy": [0.25, 0.5]})
        show(20, {"cosines": [[1.0, 0.5], [0.5, 1.0]], "loss": 0.5, "accuracy": [0.5, 1.0]})
    return console.file.getvalue()


def test_a_terminal_shows_the_loss_and_the_speed():
    text = draw(Console(file=io.StringIO(), force_terminal=True, width=120))
    assert "20/20" in text
    assert "loss 0.5" in text
    assert "accuracy 0.75" in text
    assert "cosines" not in text
    assert "steps/s" in text


def test_a_pipe_shows_nothing_unless_asked():
    assert draw(Console(file=io.StringIO(), force_terminal=False)) == ""
    assert "loss 0.5" in draw(Console(file=io.StringIO(), force_terminal=False, width=120), enabled=True)
    assert draw(Console(file=io.StringIO(), force_terminal=True), enabled=False) == ""


def test_a_notebook_shows_the_loss_and_the_speed(tmp_path):
    pytest.importorskip("ipykernel")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = (
        "from jmeta._reporting import progress_bar\n"
        "with progress_bar(20, None) as show:\n"
        "    show(5, {'loss': 0.75})\n"
        "    show(20, {'loss': 0.5})\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    for words in ("20/20", "loss 0.5", "steps/s"):
        assert words in output.data["text/plain"]
    # Drawn again, too, it is the bar and not what holds it.
    assert "{" not in output.data["text/plain"]


@pytest.mark.parametrize("tasks", [None, host_copy(3)], ids=["device", "host"])
def test_a_second_training_by_the_same_step_compiles_nothing(tasks):
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(squared_distance, n=1)
    step, found = jmeta.make_step(counted, OPTIMIZER), sampler() if tasks is None else tasks
    first = jmeta.fit(step, initial(), found, num_steps=4, steps_per_chunk=4)
    second = jmeta.fit(step, first.state, found, num_steps=8, steps_per_chunk=4)
    assert_equal(second, jmeta.fit(jmeta.make_step(squared_distance, OPTIMIZER), initial(), found, num_steps=8, steps_per_chunk=4))


def test_tasks_batched_again_are_the_same_sampler():
    tasks = jmeta.sinusoid()
    assert jmeta.batch_tasks(tasks, 4).sample is jmeta.batch_tasks(tasks, 4).sample
    assert jmeta.batch_tasks(tasks, 4).sample is not jmeta.batch_tasks(tasks, 5).sample


def interrupted_at(wanted):
    def callback(step, metrics, state):
        if step == wanted:
            signal.raise_signal(signal.SIGINT)

    return [callback]


def test_an_interrupted_notebook_cell_gives_the_state_back(tmp_path):
    with pytest.warns(UserWarning, match="interrupted at step 4 of 10; this is what training had reached"):
        found = run(callbacks=interrupted_at(4), on_interrupt="return")
    assert_equal(found, run(4))
    with pytest.warns(UserWarning, match="interrupted at step 8 of 10"):
        run(callbacks=interrupted_at(8), on_interrupt="return", directory=tmp_path)
    assert_equal(run(directory=tmp_path, resume=True), run())
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=interrupted_at(4))


def test_a_notebook_is_recognised(monkeypatch):
    class ZMQInteractiveShell:
        """What IPython's get_ipython gives in a notebook."""

    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=ZMQInteractiveShell))
    with pytest.warns(UserWarning, match="interrupted at step 4"):
        run(callbacks=interrupted_at(4), progress=False)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=interrupted_at(4), progress=False)


def test_what_fit_wrote_is_loaded_whole_and_in_part(tmp_path):
    found = run(directory=tmp_path, validation=validation)
    fresh = initial()
    like = jmeta.Fitted(fresh, jmeta.Best(fresh.params, fresh.step, jnp.zeros(())))
    step, restored = checkpointing.restore(tmp_path / "checkpoints", like)
    assert step == 10
    assert_equal(restored, found)
    assert_equal(jmeta.load_params(tmp_path, fresh.params), found.best.params)
    _, last = checkpointing.restore(tmp_path / "checkpoints", fresh.params, part=".state.params")
    assert_equal(last, found.state.params)
    with pytest.raises(
        ValueError, match=r"What fit saves is a Fitted\(state, best\); jmeta.load_params reads its parameters alone"
    ):
        checkpointing.restore(tmp_path / "checkpoints", fresh)
    with pytest.raises(ValueError, match=r"got 2 arrays with .best.params\['b'\]"):
        jmeta.load_params(tmp_path, {"w": jnp.zeros(3)})


def test_without_validation_the_last_parameters_are_loaded(tmp_path):
    found = run(directory=tmp_path)
    assert_equal(jmeta.load_params(tmp_path, initial().params), found.state.params)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        jmeta.load_params(tmp_path / "nowhere", initial().params)


def test_several_processes_write_nothing_together(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="directory must be None where 2 processes train together: checkpoints are of one"):
        run(directory=tmp_path)


def seen(seed, tasks):
    """What each of ten steps is given to draw from: its data and a number drawn with the objective's key."""

    def objective(params, key, data, *, step=0):
        del step
        return params["w"].sum() ** 2, {"drawn": jax.random.uniform(key), "data": data[0][0, 0]}

    logs = []
    optimizer = optax.sgd(0.1)
    state = jmeta.init_state({"w": jnp.ones(3)}, optimizer, jax.random.key(seed))
    options = {"steps_per_chunk": 1, "callbacks": [lambda step, metrics, state: logs.append((metrics["drawn"], metrics["data"]))]}
    return logs, functools.partial(jmeta.fit, jmeta.make_step(objective, optimizer), state, tasks, **options)


@pytest.mark.parametrize("where", ["device", "host"])
def test_consecutive_steps_draw_other_data_and_other_randomness(where, tmp_path):
    """For every seed, and after a resume; not the same tasks with the same randomness again and again."""
    everything = []
    for seed in (0, 1):
        logs, fit = seen(seed, sampler() if where == "device" else host_copy(seed))
        fit(num_steps=6, directory=tmp_path / str(seed))
        fit(num_steps=10, directory=tmp_path / str(seed), resume=True)
        whole, again = seen(seed, sampler() if where == "device" else host_copy(seed))
        again(num_steps=10)
        assert logs == whole
        everything += logs
    drawn, data = zip(*everything, strict=True)
    assert len(set(drawn)) == 20
    assert len(set(data)) == 20


def test_the_keys_of_a_step_differ():
    states = [initial(seed)._replace(step=jnp.int32(step)) for seed in (0, 1) for step in range(5)]
    keys = np.concatenate([jax.random.key_data(step_keys(state)) for state in states])
    assert len({tuple(key.tolist()) for key in keys}) == 20
