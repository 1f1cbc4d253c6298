"""The problem of a user's own file: what it may hold, what is made of it, and what is said where it is wrong."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta._catalogue.config import write_config
from jmeta._catalogue.npz import read_table
from jmeta._catalogue.options import with_values
from jmeta._catalogue.recipes import build, prepared, setting_of
from jmeta._catalogue.tables import PROBLEMS, default_config
from jmeta._catalogue.units import divide
from jmeta._cli.main import main

ROWS = 12
SIZES = {"shots": 2, "queries": 3, "evaluation_shots": 2, "hidden": (4,), "steps": 4, "steps_per_chunk": 2, "validate_every": 2}
TRAIN = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", *np.atleast_1d(value).astype(str))]


def labelled(units=10, **changes):
    """Vectors about a mean of their class, in units far from 1."""
    numbers = np.repeat(np.arange(units), ROWS)
    generator = np.random.default_rng(0)
    x = 1000 + 50 * generator.normal(size=(units, 3))[numbers] + generator.normal(size=(units * ROWS, 3))
    return {"x": x, "y": np.array([f"c{number:02d}" for number in numbers])} | changes


def grouped(units=10, **changes):
    """Lines about a height of their group; groups are named, and have from 6 rows on, one more each."""
    sizes = 6 + np.arange(units)
    numbers = np.repeat(np.arange(units), sizes)
    generator = np.random.default_rng(1)
    x = generator.normal(size=(len(numbers), 2))
    y = 300 + 100 * generator.normal(size=units)[numbers] + x[:, 0]
    return {"x": x, "y": y, "groups": np.array([f"g{number}" for number in numbers])} | changes


def written(tmp_path, found):
    path = tmp_path / "own.npz"
    np.savez(path, **{name: value for name, value in found.items() if value is not None})
    return str(path)


def config_of(path, method="maml", **values):
    sentences = []
    config = with_values(default_config(method, "arrays"), path=path, **SIZES | values)
    return prepared(config, sentences.append), sentences


def test_labels_are_few_shot_classification_of_new_classes(tmp_path):
    path = written(tmp_path, labelled(extra=np.ones(2)))
    config, sentences = config_of(path)
    assert sentences == [
        f"{path}: 120 rows of 3 numbers in 10 classes: few-shot classification.",
        f"left out of {path}: extra.",
        "classes by split: 6 train, 2 validation, 2 test; the file holds no split, so it is drawn by split_seed 0.",
    ]
    # Two classes are what the smallest split has, and ROWS - 2 queries what a class has left.
    assert (config.tasks.ways, config.test.evaluation_ways, config.test.evaluation_queries) == (2, 2, 10)
    table, split = read_table(path), divide(path, read_table(path), 0)
    for name, sampler in zip(("train", "validation", "test"), PROBLEMS["arrays"].samplers(config), strict=True):
        episode = sampler.sample(sampler.data, jax.random.key(0))
        rows = [int(np.flatnonzero((table.x == row).all(axis=1))[0]) for row in np.asarray(episode.support.x)]
        assert (split[table.unit[rows]] == name).all()
        assert episode.classes.shape == (2,)


@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_groups_are_tasks_of_their_own(kind, tmp_path):
    found = grouped()
    if kind == "labels":
        found["y"] = np.arange(len(found["x"])) % 2
    path = written(tmp_path, found)
    config, sentences = config_of(path)
    meaning = {"numbers": "few-shot regression", "labels": "few-shot classification among 2 labels"}[kind]
    assert sentences[0] == f"{path}: 105 rows of 2 numbers in 10 groups, one task each: {meaning}."
    train, validation, test = PROBLEMS["arrays"].samplers(config)
    assert (train.size, validation.size, test.size) == (6, 2, 2)
    chosen = divide(path, read_table(path), 0)[read_table(path).unit] == "test"
    # Everything but the shots is asked of a test task.
    episodes = [test.at(test.data, jnp.asarray(index), jax.random.key(0)) for index in range(2)]
    real = sum(int(batch.real.sum()) for episode in episodes for batch in (episode.support, episode.query))
    assert real == chosen.sum()
    assert (episodes[0].classes is None) == (kind == "numbers")


def test_the_split_is_that_of_the_file_by_row_or_by_unit(tmp_path):
    by_unit = np.array(["test", "test", "validation", "validation", *["train"] * 6])
    for split in (by_unit, np.repeat(by_unit, ROWS), by_unit.astype("S")):
        path = written(tmp_path, labelled(split=split))
        config, sentences = config_of(path)
        assert sentences[-1] == "classes by split: 6 train, 2 validation, 2 test."
        assert divide(path, read_table(path), config.tasks.split_seed).tolist() == by_unit.tolist()


def test_a_split_that_is_drawn_depends_on_its_seed_alone(tmp_path):
    path = written(tmp_path, labelled(20))
    drawn = [divide(path, read_table(path), seed).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [drawn[0].count(name) for name in ("train", "validation", "test")] == [12, 4, 4]


TORN = np.array(["train", *["test"] * (ROWS - 1), *["train"] * 5 * ROWS, *["validation"] * 2 * ROWS, *["test"] * 2 * ROWS])
BAD = {
    "no x": (labelled(x=None), "array x: got none (the file holds y); expected examples [n, ...]"),
    "no y": (labelled(y=None), "array y: got none (the file holds x); expected a target for each row of x"),
    "objects": (labelled(y=np.array([{}] * 120)), "array y: got what is not read (Object arrays cannot be loaded when"),
    "text for x": (labelled(x=np.array(["a"] * 120)), "array x: got dtype <U1; expected real numbers"),
    "no row": (labelled(x=np.zeros((0, 3))), "array x: got shape (0, 3); expected [n, ...] with at least one row"),
    "NaN": (labelled(x=np.array([1, np.nan, 3])), "array x: got 1 of 3 values that are NaN or infinite in float32"),
    "too large": (labelled(x=np.full((120, 1), 1e300)), "array x: got 120 of 120 values that are NaN or infinite in float32"),
    "lengths": (labelled(y=np.arange(7)), "array y: got shape (7,); expected (120,), one entry for each row of x"),
    "real lengths": (labelled(y=np.ones(7)), "array y: got shape (7,); expected [n] or [n, outputs] with the 120 rows of x"),
    "dates": (labelled(y=np.zeros(120, "M8[s]")), "array y: got dtype datetime64[s]; expected whole numbers or text"),
    "one label": (labelled(y=np.ones(120, int)), "array y: got 1 label; expected at least 2"),
    "few classes": (labelled(5), "array y: got 5 classes, of them 1 for train; expected at least 2 for each split"),
    "numbers without groups": (labelled(y=np.ones(120)), "array groups: got none; expected the task of each row, because y holds"),
    "real groups": (grouped(groups=np.ones(105)), "array groups: got dtype float64; expected whole numbers or text"),
    "NaN in y": (grouped(y=np.full(105, np.nan)), "array y: got 105 of 105 values that are NaN"),
    "another split": (labelled(split=np.array(["dev"] * 10)), "array split: got 'dev'; expected one of train, validation, test"),
    "a split of 3": (
        labelled(split=np.array(["test"] * 3)),
        "array split: got <U4 of shape (3,); expected text of shape (120,), for",
    ),
    "no validation": (
        labelled(split=np.array(["train"] * 8 + ["test"] * 2)),
        "array split: got 10 classes, of them 0 for validation",
    ),
    "a torn class": (labelled(split=TORN), "array split: got c00 in train and in test; expected every class or group in one split"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_gets_one_sentence(name, tmp_path):
    found, sentence = BAD[name]
    path = tmp_path / "own.npz"
    np.savez(path, **{name: value for name, value in found.items() if value is not None})
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        config_of(str(path))
    assert str(error.value).startswith(f"file {path}, array ")
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not a zip file"])
def test_what_is_no_npz_is_named(content, tmp_path):
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"own.npz is no sound .npz file \(.*\); expected one with the arrays x and y"):
        config_of(str(tmp_path / "own.npz"))
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere.npz; expected an .npz file"):
        config_of(str(tmp_path / "nowhere.npz"))


@pytest.mark.parametrize(
    ("found", "values", "sentence"),
    [
        (labelled(), {"shots": 10}, "array y: got 12 rows of class c00; expected at least 13, for 10 shots and 3 queries"),
        (grouped(), {"shots": 9}, "array groups: got 6 rows of group g0; expected at least 10, for 9 shots and a query"),
        (
            grouped(y=(np.arange(105) > 1).astype(int)),
            {"split_seed": 1},
            "array groups: got 2 rows of label 0 in group g0; expected at least 3, for 2 shots and a query",
        ),
        (labelled(), {"ways": 3, "evaluation_ways": 3}, "ways must be at most the 2 classes of a split of"),
        (labelled(), {"queries": None}, "ways and queries must be given where"),
        (grouped(), {"ways": 3}, "ways must not be given where"),
        (grouped(), {"episodes": 3}, "episodes must be at least 2 and at most the 2 tasks of the list; got 3"),
    ],
)
def test_sizes_that_a_file_does_not_have_get_one_sentence(found, values, sentence, tmp_path):
    path = written(tmp_path, found)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        build(config_of(path, **values)[0])


def test_a_method_that_does_not_solve_what_the_file_holds_says_so(tmp_path, capsys):
    path = written(tmp_path, grouped())
    assert main(["train", "prototypical_networks", "arrays", "--path", path, "--out", str(tmp_path / "run")]) == 2
    assert f"prototypical_networks solves few-shot classification; {path} is few-shot regression." in capsys.readouterr().err
    path = written(tmp_path, labelled())
    assert main(["train", "maml", "arrays", "--path", path, "--baseline", "--out", str(tmp_path / "run")]) == 2
    assert "baseline must be false for maml on arrays" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_network_sees_standardised_numbers_and_speaks_in_the_units_of_the_file(tmp_path):
    found = grouped(y=np.stack([grouped()["y"], np.full(105, 7.0)], axis=1))
    found["x"][:, 1] = 5.0
    path = written(tmp_path, found)
    config, _ = config_of(path)
    recipe, table = build(config), read_table(path)
    training = (divide(path, table, 0) == "train")[table.unit]
    x, y = table.x[training].astype(np.float64), table.y[training].astype(np.float64)
    # What is the same in every row is divided by 1.
    scale, spread = (np.where(part.std(axis=0) > 1e-6, part.std(axis=0), 1) for part in (x, y))
    assert spread[0] > 10
    params = jax.device_get(recipe.state.params)
    body, head = params.encoder["layers_0"]["Dense_0"], params.head["Dense_0"]
    features = np.maximum((table.x - x.mean(axis=0)) / scale @ body["kernel"] + body["bias"], 0)
    expected = y.mean(axis=0) + spread * (features @ head["kernel"] + head["bias"])
    outputs = jax.jit(recipe.learner.predict)(params, params, table.x)
    # Float32 of numbers around 300.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    losses = setting_of(config).loss_fn(outputs, table.y)
    np.testing.assert_allclose(losses, np.square(np.asarray(outputs) - table.y) / spread**2, rtol=1e-4, atol=1e-9)


def test_numbers_are_taken_as_they_are_where_that_is_asked_for(tmp_path):
    config, _ = config_of(written(tmp_path, grouped()), standardize=False)
    recipe = build(config)
    params = jax.device_get(recipe.state.params)
    body, head = params.encoder["layers_0"]["Dense_0"], params.head["Dense_0"]
    x = np.random.default_rng(0).normal(size=(5, 2))
    expected = np.maximum(x @ body["kernel"] + body["bias"], 0) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(jax.jit(recipe.learner.predict)(params, params, x), expected, rtol=1e-5, atol=1e-6)
    assert setting_of(config).loss_fn is jmeta.squared_error


def test_images_get_a_convolution_standardised_by_channel_and_bytes_are_taken_as_they_are(tmp_path):
    generator = np.random.default_rng(0)
    x = np.array([10.0, 500.0]) + np.array([2.0, 30.0]) * generator.normal(size=(120, 4, 5, 2))
    config, sentences = config_of(written(tmp_path, labelled(x=x)))
    assert "120 rows of 4 x 5 x 2 numbers" in sentences[0]
    # 1,440 numbers a channel on 6 of 10 classes: a mean is off by 1 / sqrt(1440).
    np.testing.assert_allclose(config.data.input_mean, [10, 500], rtol=0.02)
    np.testing.assert_allclose(config.data.input_deviation, [2, 30], rtol=0.1)
    setting = setting_of(config)
    assert setting.images
    assert (setting.network.encoder.normalization, setting.outputs) == ("group", 2)
    config, _ = config_of(written(tmp_path, labelled(x=generator.integers(0, 256, (120, 4, 5, 2)).astype(np.uint8))))
    assert config.data.input_mean == ()
    train, _, _ = PROBLEMS["arrays"].samplers(config)
    support = train.sample(train.data, jax.random.key(0)).support.x
    assert support.dtype == np.float32
    assert 0 <= support.min() < 0.1
    assert 0.9 < support.max() <= 1


def test_a_run_on_groups_from_training_to_loading_without_the_file(tmp_path, capsys):
    path, directory = written(tmp_path, grouped()), tmp_path / "run"
    assert (
        main(["train", "maml", "arrays", "--path", path, "--baseline", *TRAIN, "--evaluation-steps", "3", "--out", str(directory)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "mean squared error, 2 test tasks" in printed
    assert "maml: 2 shots, all other queries; normalisation none" in printed
    found = json.loads((directory / "evaluation.json").read_text())
    assert (found["episodes"], found["queries"], list(found["after_steps"])) == (2, None, ["0", "1", "2", "3"])
    # Of each test group all but the two shots are asked, and the mean over groups is what predicting the training mean costs.
    (reference,) = found["references"].values()
    table, split = read_table(path), divide(path, read_table(path), 0)
    mean = table.y[(split == "train")[table.unit]].astype(np.float64).mean()
    assert reference["expected"] is None
    squares = np.square(table.y[:, 0] - mean)
    groups = [squares[table.unit == unit] for unit in np.flatnonzero(split == "test")]
    lowest, highest = (np.mean([pick(group)[:-2].mean() for group in groups]) for pick in (np.sort, lambda g: np.sort(g)[::-1]))
    assert lowest <= reference["mean"] <= highest
    assert {path.name for path in directory.glob("*.png")} == {"training.png", "adaptation.png"}
    (tmp_path / "own.npz").unlink()
    learner, params = jmeta.load(directory)
    support = jmeta.Batch(np.zeros((2, 2), np.float32), np.full((2, 1), 300, np.float32))
    adapted = learner.adapt(params, jax.random.key(0), support)
    assert 0 < float(learner.predict(params, adapted, support.x).mean()) < 600


def test_a_run_on_labels_with_other_ways_in_testing(tmp_path, capsys):
    path, directory = written(tmp_path, labelled(20)), tmp_path / "run"
    line = ["train", "prototypical_networks", "arrays", "--path", path, *TRAIN, "--ways", "6", "--evaluation-ways", "3"]
    assert main([*line, "--episodes", "20", "--out", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^guessing +33.33 %$", printed, re.MULTILINE)
    found = json.loads((directory / "evaluation.json").read_text())
    assert (found["ways"], found["sizes"]["ways"], found["references"]) == (3, 3, {"guessing": {"expected": 1 / 3}})
    # Classes 50 apart, of deviation 1.
    assert found["after_steps"]["as trained"]["mean"] > 0.6


def test_another_file_in_its_place_is_noticed(tmp_path, capsys):
    path, directory = written(tmp_path, labelled()), tmp_path / "run"
    config, _ = config_of(path, "prototypical_networks")
    directory.mkdir()
    write_config(directory, config)
    written(tmp_path, labelled(11))
    assert main(["resume", str(directory)]) == 1
    assert f"file {path} is not the one that the run began with" in capsys.readouterr().err
