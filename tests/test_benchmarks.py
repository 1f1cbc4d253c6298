"""The arithmetic of the benchmarks' rows, and the rows that are committed; nothing here needs the peers."""

import json

import pytest

from benchmarks import report
from benchmarks.peers import rows, works


def test_a_row_holds_medians_and_the_median_of_the_ratios_of_the_rounds():
    row = rows.make_row("w", "p", [1.0, 2.0, 4.0], {"1 thread": [9.0, 9.0, 9.0], "2 threads": [3.0, 8.0, 8.0]})
    rows.check_row(row)
    assert (row["ours_ms"], row["peer_ms"]) == (2.0, 8.0)
    # 3, 4 and 2: their median is neither the ratio of the medians by rule nor taken from another variant.
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == (3.0, 2.0, 4.0)
    assert row["variant"] == "2 threads"
    assert row["variants_ms"] == {"1 thread": 9.0, "2 threads": 8.0}


def test_ratios_need_pairs():
    for ours, peer in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="every round must time both"):
            rows.ratios(ours, peer)


@pytest.mark.parametrize("change", [{"ratio": 5.0}, {"ratio_min": 0.0}, {"ours_ms": -1.0}])
def test_rows_that_contradict_themselves_are_refused(change):
    row = rows.make_row("w", "p", [1.0], {"1 thread": [2.0]})
    with pytest.raises(ValueError, match="ratio_min <= ratio"):
        rows.check_row(row | change)


def test_rows_without_a_key_are_refused():
    with pytest.raises(ValueError, match="without peer_ms, ratio"):
        rows.check_row({"work": "w", "peer": "p", "ours_ms": 1.0, "ratio_min": 1.0, "ratio_max": 1.0})


def test_only_the_rows_of_the_works_that_ran_are_replaced(tmp_path):
    path = tmp_path / "peers-cpu.json"
    first, second, third = (rows.make_row(work, "p", [1.0], {"1 thread": [time]}) for work, time in (("a", 2), ("b", 3), ("a", 4)))
    rows.replace_rows(path, ["b"], [second], ["a", "b"])
    rows.replace_rows(path, ["a"], [first], ["a", "b"])
    assert rows.read_rows(path) == [first, second]
    rows.replace_rows(path, ["a"], [third], ["a", "b"])
    assert rows.read_rows(path) == [third, second]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_that_is_no_list_is_refused(tmp_path):
    path = tmp_path / "peers-cpu.json"
    path.write_text(json.dumps({"rows": []}))
    with pytest.raises(ValueError, match="list of rows"):
        rows.read_rows(path)


def test_devices_name_their_files():
    assert report.path_of("peers", "cpu").name == "peers-cpu.json"
    assert report.path_of("peers", "NVIDIA H100 80GB HBM3").name == "peers-nvidia-h100-80gb-hbm3.json"


def test_the_committed_rows_are_sound():
    for path in report.RESULTS.glob("peers-*.json"):
        found = rows.read_rows(path)
        assert found
        pairs = [(row["work"], row["peer"]) for row in found]
        assert len(set(pairs)) == len(pairs)
        for row in found:
            assert row["work"] in works.WORKS
            assert row["rounds"] >= 3
            assert row["gradient_difference"] <= works.WORKS[row["work"]].get("tolerance", works.TOLERANCE)
            assert {"jax", "torch", "jmeta"} <= set(row["versions"])


def test_timers_repeat_a_short_step_for_the_minimum():
    calls = []
    measure, fastest = works.timer(lambda: calls.append(0), lambda last: None, 1e-3)
    warm = len(calls)
    assert fastest > 0
    assert measure() > 0
    assert len(calls) > warm + 10


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--works", "chess"], "--works must be of"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--threads", "1,x"], "--threads must be positive whole numbers"),
        (["--data", "nowhere"], "--data must be a folder"),
    ],
)
def test_bad_arguments_get_a_sentence_and_status_2(arguments, sentence, capsys):
    from benchmarks.peers import __main__ as command

    with pytest.raises(SystemExit) as ended:
        command.parse(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_gradients_are_compared_as_one_vector():
    import numpy as np

    from benchmarks.peers.measuring import difference

    expected = [np.zeros(2, np.float32), np.array([3.0, 4.0], np.float32)]
    assert difference([np.zeros(2), np.array([3.0, 4.5])], expected) == pytest.approx(0.1)
    assert difference(expected[:1], expected) == float("inf")


def test_weights_are_read_off_parameters_too_short_to_count():
    import numpy as np

    from benchmarks.aggregators import LABEL, labelled
    from benchmarks.gradients import random

    rows = random(np.random.default_rng(0), 3, 5)
    gradients = labelled(rows)
    np.testing.assert_array_equal(gradients @ gradients.T, rows @ rows.T)
    np.testing.assert_allclose(([0.5, 0.0, 2.0] @ gradients)[5:] / LABEL, [0.5, 0.0, 2.0])


def test_conditions_hold_at_exact_solutions_and_not_at_others():
    import numpy as np

    from benchmarks import aggregators, gradients

    rows = gradients.in_conflict(np.random.default_rng(0), 4, 16)
    for name, condition in aggregators.CONDITIONS.items():
        found = gradients.exact(name, [rows], np.zeros(0))
        weights = np.linalg.lstsq(rows.T, found, rcond=None)[0]
        wanted = 1 if name == "cagrad" else 0
        assert condition(rows, found, weights) <= wanted + 1e-8
        assert condition(rows, found - 3 * rows[0], weights - 3 * np.eye(4)[0]) > wanted + 1e-3


def test_exact_solutions_agree_with_one_another_where_they_must():
    import numpy as np

    from benchmarks import gradients

    rows = gradients.random(np.random.default_rng(0), 3, 8)
    orthogonal = np.linalg.qr(rows.T)[0].T
    # What orthogonal gradients of length 1 become has equal weights; only their sum differs.
    for name, total in {"imtl_g": 1, "aligned_mtl": 1, "mgda": 1, "upgrad": 1, "pcgrad": 3, "gradvac": 3, "cr_mogm": 3}.items():
        found = gradients.exact(name, [orthogonal], np.zeros(0))
        np.testing.assert_allclose(found, total / 3 * orthogonal.sum(axis=0), atol=1e-7)
    # Targets of cosines start at 0, where the vaccine is a projection.
    np.testing.assert_allclose(gradients.gradvac([rows]), gradients.pcgrad(rows), rtol=1e-10)


def test_peers_see_the_same_convolution():
    """A SAME convolution of stride 2 is one with ``padding=1`` at the start, on mirrored images and windows."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    generator = np.random.default_rng(0)
    for size in (28, 14, 7, 4):
        x = jnp.asarray(generator.standard_normal((2, size, size, 3)), jnp.float32)
        window = jnp.asarray(generator.standard_normal((3, 3, 3, 5)), jnp.float32)
        layout = ("NHWC", "HWIO", "NHWC")
        same = jax.lax.conv_general_dilated(x, window, (2, 2), "SAME", dimension_numbers=layout)
        mirrored = jax.lax.conv_general_dilated(
            x[:, ::-1, ::-1], window[::-1, ::-1], (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout
        )
        # float32 sums of 27 products
        np.testing.assert_allclose(mirrored[:, ::-1, ::-1], same, rtol=1e-5, atol=1e-5)


def test_a_plot_shows_the_ratio_its_range_and_what_is_wanted(tmp_path, monkeypatch):
    from benchmarks import plots

    found = rows.make_row("pcgrad-64", "torchjd", [1.0, 1.0, 1.0], {"1 thread": [1.5, 2.5, 3.0]})
    (tmp_path / "peers-cpu.json").write_text(json.dumps([found]))
    (tmp_path / "speed-cpu.json").write_text(
        json.dumps({"growth-tasks": {"sizes": [4, 8], "ms": [1.0, 2.0], "slope": 1.0}, "fit": {"ratio": 1.01}})
    )
    monkeypatch.setattr(plots, "RESULTS", tmp_path)
    monkeypatch.setattr(plots, "PLOTS", tmp_path / "plots")
    plots.main()
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "aggregators-cpu.svg",
        "fit-cpu.svg",
        "growth-tasks-cpu.svg",
        "pcgrad-cpu.svg",
    ]
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    plots.ratios(axes, [found], "title")
    spread, median, wanted, *_ = ([float(x) for x in line.get_xdata()] for line in axes.lines)
    assert (spread, median, wanted) == ([1.5, 3.0], [2.5], [2.0])


def league_result(job, seed, first, depth, minutes=3.0):
    scores = {"depth": {"relative error": depth}, "kind": {"mean IoU": first}}
    return {
        "job": job,
        "seed": seed,
        "scores": {task: {name: {"mean": value, "half_width": 0.01} for name, value in of.items()} for task, of in scores.items()},
        "examples": {"depth": 654, "kind": 654},
        "training_minutes": minutes,
        "parameters_chosen_by": "luck",
        "device": "cpu",
    }


def test_a_league_is_compared_with_independent_networks_of_the_same_seeds(tmp_path, monkeypatch):
    from benchmarks import leagues

    found = [
        league_result("hard_parameter_sharing", 0, 0.5, 0.4),
        league_result("hard_parameter_sharing", 1, 0.5, 0.6, minutes=5.0),
        league_result("independent_networks", 0, 0.4, 0.5),
        league_result("independent_networks", 1, 0.5, 0.5),
        league_result("hard_parameter_sharing+pcgrad", 0, 0.4, 0.4),
    ]
    for result in found:
        name = f"multitask-nyuv2-{result['job']}-{result['seed']}.json"
        (tmp_path / name).write_text(json.dumps(result))
    monkeypatch.setattr(leagues, "RESULTS", tmp_path)
    (table,) = leagues.league_tables()
    head, _, *lines = (line.strip("| ").split(" | ") for line in table.split("\n\n")[0].split("\n"))
    assert head[:6] == ["nyuv2", "depth relative error ↓", "kind mean IoU, % ↑", "Δm, % ↓", "mean rank ↓", "minutes"]
    independent, hard, pcgrad = ([cell.strip() for cell in line] for line in lines)
    # Over two seeds the half-width is 12.7062 (Student's t with one degree of freedom) times half the difference, here 5 %.
    assert independent[:4] == ["independent_networks", "0.500 ± 0.000", "45.00 ± 63.53", ""]
    # -(20 + 25) / 2 and (20 + 0) / 2: 16.25 to either side of the mean.
    assert hard[3] == "-6.25 ± 206.48"
    assert hard[5:7] == ["4.0 (cpu)", "2"]
    # One seed: the bootstrap's interval, and of delta m none.
    assert pcgrad[1:4] == ["0.400 ± 0.010", "40.00 ± 1.00", "-10.00"]
    assert [line[4] for line in (independent, hard, pcgrad)] == ["2.25", "1.75", "2.00"]
    assert "at most 8 minutes" in pcgrad
    assert "654 test examples" in table
