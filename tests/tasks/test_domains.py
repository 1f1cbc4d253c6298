"""Sets that domains are made of, from small archives written here and from the real ones."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import jmeta

RANDOM = np.random.default_rng(0)
DOMAINS = {"caltech10": 4, "amazon": 5, "webcam": 3, "dslr": 2}
REVIEWS = {"books": 4, "dvd": 5, "elec": 3, "kitchen": 2}


def of_domains(domains, width, classes):
    features = {f"{name}_x": RANDOM.integers(0, 9, (count, width)).astype(np.uint16) for name, count in domains.items()}
    return features | {f"{name}_y": np.arange(count, dtype=np.uint8) % classes for name, count in domains.items()}


def of_digits(size):
    parts = {"train": 12, "test": 7}
    images = {f"x_{part}": RANDOM.integers(0, 256, (count, size, size)).astype(np.uint8) for part, count in parts.items()}
    return images | {f"y_{part}": np.arange(count, dtype=np.uint8) % 10 for part, count in parts.items()}


def of_recordings():
    conditions = ["B_7", "Normal", "IR_7", "B_7", "IR_7"]
    return {
        "signal": RANDOM.integers(-9, 9, (5, 50)).astype(np.int16),
        "length": np.array([50, 50, 45, 39, 31], np.int32),
        "scale": np.array([0.5, 1.0, 0.25, 2.0, 1.0]),
        "load_hp": np.array([0, 0, 0, 3, 3], np.int8),
        "condition": np.array(conditions),
    }


# The reader, the name of its archive, its arrays, its folder in the data.
SETS = {
    "mnist": (jmeta.mnist, "mnist.npz", of_digits(28), "mnist"),
    "usps": (jmeta.usps, "usps.npz", of_digits(16), "usps"),
    "office_caltech": (jmeta.office_caltech, "office_caltech_surf800.npz", of_domains(DOMAINS, 800, 10), "office_caltech_surf"),
    "amazon_reviews": (jmeta.amazon_reviews, "amazon_review400.npz", of_domains(REVIEWS, 400, 2), "amazon_review400"),
    "bearings": (lambda path: jmeta.bearings(path, window=10), "cwru_de12k.npz", of_recordings(), "cwru"),
}


@pytest.fixture
def written(tmp_path):
    def write(name, **changes):
        _, archive, arrays, _ = SETS[name]
        np.savez(tmp_path / archive, **(arrays | changes))
        return tmp_path / archive

    return write


@pytest.mark.parametrize("name", ["mnist", "usps"])
def test_digits_are_those_of_the_archive(written, name):
    read, _, arrays, _ = SETS[name]
    found = read(written(name))
    for part in ("train", "test"):
        np.testing.assert_array_equal(found[part].x[..., 0], arrays[f"x_{part}"])
        np.testing.assert_array_equal(found[part].y, arrays[f"y_{part}"])
        assert found[part].x.dtype == np.uint8


def test_digits_of_two_sets_have_one_form(tmp_path):
    for name in ("mnist", "usps"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / f"{name}.npz", **SETS[name][2])
    found = jmeta.mnist_usps(tmp_path)
    assert list(found) == ["mnist", "usps"]
    for part in ("train", "test"):
        np.testing.assert_array_equal(found["mnist"][part].x[..., 0], SETS["mnist"][2][f"x_{part}"])
        framed = found["usps"][part].x
        assert framed.shape[1:] == (28, 28, 1)
        np.testing.assert_array_equal(framed[:, 6:22, 6:22, 0], SETS["usps"][2][f"x_{part}"])
        assert framed.astype(int).sum() == SETS["usps"][2][f"x_{part}"].astype(int).sum()
        np.testing.assert_array_equal(found["usps"][part].y, SETS["usps"][2][f"y_{part}"])


@pytest.mark.parametrize(("name", "domains"), [("office_caltech", DOMAINS), ("amazon_reviews", REVIEWS)])
def test_domains_are_those_of_the_archive(written, name, domains):
    read, _, arrays, _ = SETS[name]
    found = read(written(name).parent)
    assert list(found) == list(domains)
    for domain, batch in found.items():
        np.testing.assert_array_equal(batch.x, arrays[f"{domain}_x"])
        np.testing.assert_array_equal(batch.y, arrays[f"{domain}_y"])


def test_recordings_are_cut_into_windows_in_time(written):
    arrays = SETS["bearings"][2]
    found = jmeta.bearings(written("bearings"), window=10)
    # By load, fault by fault in the order of names: five windows of recording 0, four of 2; three of 3, three of 4.
    expected = {0: [(0, 5, 0), (2, 4, 1)], 3: [(3, 3, 0), (4, 3, 1)]}
    assert list(found) == list(expected)
    for load, recordings in expected.items():
        rows, labels = [], []
        for at, count, label in recordings:
            for window in range(count):
                rows.append([arrays["signal"][at][10 * window + sample] * arrays["scale"][at] for sample in range(10)])
                labels.append(label)
        np.testing.assert_array_equal(found[load].x, rows)
        np.testing.assert_array_equal(found[load].y, labels)


@pytest.mark.parametrize("name", SETS)
def test_damage_is_named(written, name):
    read, _, _, _ = SETS[name]
    file = written(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"path {re.escape(str(file))} is not a sound .* archive"):
        read(file)


@pytest.mark.parametrize("name", SETS)
def test_where_nothing_is_a_sentence_says_what_to_put_there(tmp_path, name):
    read, archive, _, folder = SETS[name]
    with pytest.raises(FileNotFoundError, match=rf"data in .*; put .*{re.escape(archive)}.*'{folder}'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("usps", {"x_test": np.zeros((7, 28, 28), np.uint8)}, r"must hold x_test \[n, 16, 16\]; got \(7, 28, 28\)"),
        ("usps", {"y_train": np.arange(12)}, "must hold images of bytes and labels 0, ..., 9; got uint8 and labels from 0 to 11"),
        ("usps", {"x_train": np.zeros((12, 16, 16))}, "must hold images of bytes and labels 0, ..., 9; got float64"),
        ("mnist", {"y_test": np.arange(6)}, r"must hold labels \[7\]; got \(6,\)"),
        ("office_caltech", {"dslr_x": np.zeros((2, 10))}, r"must hold dslr_x \[n, 800\]; got \(2, 10\)"),
        (
            "office_caltech",
            {"dslr_y": np.array([0, 10])},
            "features of dslr that are at least 0, and labels 0, ..., 9; got .* to 10",
        ),
        ("amazon_reviews", {"dvd_x": np.full((5, 400), np.nan)}, "features of dvd that are at least 0, .*; got features from nan"),
        ("amazon_reviews", {"dvd_x": np.full((5, 400), -1.0)}, "features of dvd that are at least 0, .*; got features from -1.0"),
        (
            "bearings",
            {"length": np.array([50, 50, 9, 39, 31])},
            "recordings of 10 to 50 samples of at least one fault; got lengths from 9",
        ),
        ("bearings", {"length": np.array([51, 50, 45, 39, 31])}, "got lengths from 31 to 51"),
        ("bearings", {"scale": np.ones(4)}, r"must hold scale \[5\]; got \(4,\)"),
        ("bearings", {"condition": np.array(5 * ["Normal"])}, "at least one fault; got lengths from 31 to 50 of none"),
    ],
)
def test_archives_of_another_kind_are_refused(written, name, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SETS[name][0](written(name, **changes))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", {"train": 60_000, "test": 10_000}),
        ("usps", {"train": 7_291, "test": 2_007}),
        ("office_caltech", {"caltech10": 1_123, "amazon": 958, "webcam": 295, "dslr": 157}),
        ("amazon_reviews", {"books": 2_000, "dvd": 1_999, "elec": 1_998, "kitchen": 1_999}),
        # 15 recordings of 120,000 samples for each load.
        ("bearings", dict.fromkeys(range(4), 15 * 12_000)),
    ],
)
def test_the_real_sets_are_read_whole(name, sizes):
    root = os.environ.get("JMETA_DATA")
    folder = Path(root or "", SETS[name][3])
    if not root or not folder.is_dir():
        pytest.skip(f"set JMETA_DATA to a folder that holds {SETS[name][3]}.")
    found = SETS[name][0](None)
    assert {part: len(batch.y) for part, batch in found.items()} == sizes
    for batch in found.values():
        assert np.unique(batch.y).tolist() == list(range(batch.y.max() + 1))
