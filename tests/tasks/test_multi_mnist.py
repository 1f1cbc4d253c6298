"""MultiMNIST against a loop that makes one image at a time, from digits made up here and from the real ones."""

import gzip
import struct

import jax
import numpy as np
import pytest

import jmeta

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OFFICIAL = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def overlay(left, right):
    """One image, step by step, with Pillow's resize, which SciPy's was."""
    image = pytest.importorskip("PIL.Image")
    canvas = np.zeros((36, 36))
    for row in range(28):
        for column in range(28):
            canvas[row, column] = left[row, column]
    for row in range(28):
        for column in range(28):
            canvas[row + 6, column + 6] = max(canvas[row + 6, column + 6], right[row, column])
    low, high = canvas.min(), canvas.max()
    canvas = ((canvas - low) * (255 / (high - low)) + 0.5).astype(np.uint8)
    return np.asarray(image.fromarray(canvas).resize((28, 28), image.Resampling.NEAREST))


def write_idx(file, array, opener):
    with opener(file, "wb") as stream:
        stream.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Ten and six dim digits in all three forms; each has a label of its own, which tells which it is."""
    random = np.random.default_rng(0)
    x_train, x_test = (random.integers(0, 240, (count, 28, 28)).astype(np.uint8) for count in (10, 6))
    arrays = dict(zip(ARRAYS, (x_train, np.arange(10, dtype=np.uint8)[::-1], x_test, np.arange(6, dtype=np.uint8)), strict=True))
    folders = {name: tmp_path_factory.mktemp(name) for name in ("npz", "idx", "gz")}
    np.savez(folders["npz"] / "mnist.npz", **arrays)
    for name, array in zip(OFFICIAL, arrays.values(), strict=True):
        write_idx(folders["idx"] / name, array, open)
        write_idx(folders["gz"] / f"{name}.gz", array, gzip.open)
    return folders, arrays


def stored(splits):
    """The bytes of a part that was normalised."""
    return np.rint((splits.x[..., 0] * 0.3081 + 0.1307) * 255).astype(np.uint8)


def test_every_image_is_its_two_digits(made_up):
    folders, arrays = made_up
    splits = jmeta.multi_mnist(folders["npz"], size=3, validation=4, seed=3)
    digits = dict(zip(arrays["y_train"], arrays["x_train"], strict=True)), dict(enumerate(arrays["x_test"]))
    assert splits.train.data.x.dtype == np.uint8
    parts = {
        "train": (np.asarray(splits.train.data.x)[..., 0], splits.train.data.y, digits[0]),
        "validation": (stored(splits.validation), splits.validation.y, digits[0]),
        "test": (stored(splits.test), splits.test.y, digits[1]),
    }
    for images, labels, known in parts.values():
        for image, left, right in zip(images, labels["left"], labels["right"], strict=True):
            np.testing.assert_array_equal(image, overlay(known[int(left)], known[int(right)]))
    used = {name: set(np.concatenate([*labels.values()]).tolist()) for name, (_, labels, _) in parts.items()}
    # Each digit is a left once, and no digit is in both parts that are made of the training digits.
    assert sorted(parts["test"][1]["left"]) == [*range(6)]
    assert sorted(np.concatenate([parts[name][1]["left"] for name in ("train", "validation")])) == [*range(10)]
    assert not used["train"] & used["validation"]


def test_a_training_batch_is_normalised(made_up):
    splits = jmeta.multi_mnist(made_up[0]["npz"], size=6, validation=4)
    batch = jax.jit(splits.train.sample)(splits.train.data, jax.random.key(0))
    order = [list(np.asarray(splits.train.data.y["left"])).index(label) for label in batch.y["left"]]
    assert sorted(order) == [*range(6)]
    images = np.asarray(splits.train.data.x)[order]
    # float32: one part in 1e7 of values up to 3.
    np.testing.assert_allclose(batch.x, (images / 255 - 0.1307) / 0.3081, atol=1e-6)
    np.testing.assert_array_equal(batch.y["right"], np.asarray(splits.train.data.y["right"])[order])
    assert (splits.inputs.mean, splits.inputs.deviation, splits.targets) == (0.1307, 0.3081, None)


def test_all_forms_are_read_alike_and_the_seed_decides(made_up, monkeypatch):
    folders, _ = made_up
    monkeypatch.setenv("JMETA_DATA", str(folders["npz"].parent))
    options = {"size": 2, "validation": 4}
    found = [jmeta.multi_mnist(place, **options) for place in (*folders.values(), folders["npz"] / "mnist.npz")]
    for splits in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, splits.train.data, found[0].train.data)
        jax.tree.map(np.testing.assert_array_equal, splits[1:], found[0][1:])
    other, whole = jmeta.multi_mnist(folders["idx"], **options, seed=1), jmeta.multi_mnist(folders["idx"], size=2, validation=0)
    assert not np.array_equal(other.test.y["right"], found[0].test.y["right"])
    # The pairs of the test are the same whatever is held out.
    np.testing.assert_array_equal(whole.test.x, found[0].test.x)
    assert whole.validation is None
    assert len(whole.train.data.x) == 10


def test_missing_and_damaged_files_are_named(made_up, tmp_path, monkeypatch):
    folders, arrays = made_up
    monkeypatch.delenv("JMETA_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"JMETA_DATA is not set.*train-images-idx3-ubyte.*mnist\.npz") as error:
        jmeta.multi_mnist(None)
    assert "\n" not in str(error.value)
    for name in OFFICIAL:
        (tmp_path / name).write_bytes((folders["idx"] / name).read_bytes())
        (tmp_path / f"{name}.gz").write_bytes((folders["gz"] / f"{name}.gz").read_bytes())
    packed, plain = tmp_path / f"{OFFICIAL[2]}.gz", tmp_path / OFFICIAL[1]
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is not a sound file of MNIST") as error:
        jmeta.multi_mnist(tmp_path)
    assert "\n" not in str(error.value)
    packed.unlink()
    for content in (b"", plain.read_bytes()[:-1], b"\0\0\x0d" + plain.read_bytes()[3:], b"<html>"):
        plain.write_bytes(content)
        with pytest.raises(ValueError, match="train-labels-idx1-ubyte is not a sound file of MNIST"):
            jmeta.multi_mnist(tmp_path)
    file = tmp_path / "mnist.npz"
    for change, message in (
        ({"y_test": np.full(6, None)}, "expected arrays x_train, y_train, x_test and y_test"),
        ({"x_train": arrays["x_train"][:, 1:]}, r"must hold images \[n, 28, 28\]; got \(10, 27, 28\)"),
        ({"y_train": arrays["y_train"][1:]}, r"must hold labels \[10\]; got \(9,\)"),
        ({"y_test": arrays["y_test"] + 9}, "labels 0, ..., 9"),
    ):
        np.savez(file, **(arrays | change))
        with pytest.raises(ValueError, match=message):
            jmeta.multi_mnist(file)
    with pytest.raises(ValueError, match="validation must leave digits to train on; got 9 of 10"):
        jmeta.multi_mnist(folders["npz"], validation=9)


def test_the_real_digits(real_data):
    path = real_data("mnist")
    splits = jmeta.multi_mnist(path)
    with np.load(f"{path}/mnist.npz") as archive:
        known = {name: archive[name] for name in ARRAYS}
    shapes = splits.train.data.x.shape, splits.validation.x.shape, splits.test.x.shape
    assert shapes == ((50_000, 28, 28, 1), (10_000, 28, 28, 1), (10_000, 28, 28, 1))
    lefts = np.concatenate([np.asarray(splits.train.data.y["left"]), splits.validation.y["left"]])
    np.testing.assert_array_equal(np.bincount(lefts), np.bincount(known["y_train"]))
    np.testing.assert_array_equal(splits.test.y["left"], known["y_test"])
    images = stored(splits.test)
    for index in (0, 17):
        # Which of the digits of its label lies to the right is for the loop to find.
        others = known["x_test"][known["y_test"] == splits.test.y["right"][index]]
        assert any(np.array_equal(overlay(known["x_test"][index], other), images[index]) for other in others)
