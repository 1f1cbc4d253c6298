"""NYUv2 in both of its forms: made-up rooms, and the real ones."""

import jax
import numpy as np
import pytest

import jmeta
from jmeta.tasks import _nyuv2

HEIGHT, WIDTH, METRES = 6, 8, np.float32(0.0392)


def write_archives(folder):
    """Seven and three rooms; the first byte of a room numbers it. Some pixels have no class or no depth."""
    random = np.random.default_rng(0)
    found = {}
    for part, count in (("train", 7), ("test", 3)):
        image = random.integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.uint8)
        image[:, 0, 0, 0] = np.arange(count)
        classes = random.choice([*range(13), 255], (count, HEIGHT, WIDTH)).astype(np.uint8)
        depth = random.choice([0, 18, 100, 255], (count, HEIGHT, WIDTH)).astype(np.uint8)
        found[part] = {"image": image, "seg13": classes, "depth_u8": depth, "depth_scale_m": METRES}
        np.savez(folder / f"nyuv2_96x128_{part}.npz", **found[part])
    return found


def write_folders(folder):
    """Five and two rooms in MTAN's form."""
    random = np.random.default_rng(1)
    found = {}
    for part, count in (("train", 5), ("val", 2)):
        arrays = {
            "image": random.random((count, HEIGHT, WIDTH, 3)).astype(np.float32),
            "label": random.integers(-1, 13, (count, HEIGHT, WIDTH)).astype(np.float32),
            "depth": random.choice([0, 1.5, 3], (count, HEIGHT, WIDTH, 1)).astype(np.float32),
            "normal": random.choice([-1, 0, 1], (count, HEIGHT, WIDTH, 3)).astype(np.float32),
        }
        arrays["image"][:, 0, 0, 0] = np.arange(count)
        for kind, array in arrays.items():
            (folder / part / kind).mkdir(parents=True)
            for number, room in enumerate(array):
                np.save(folder / part / kind / f"{number}.npy", room)
        found[part] = arrays
    return found


def check_rooms(batch, numbers, arrays):
    """One pixel at a time, against the archive."""
    for row, number in enumerate(numbers):
        np.testing.assert_allclose(batch.x[row], arrays["image"][number] / 255, atol=1e-7)
        for place in np.ndindex(HEIGHT, WIDTH):
            label, depth = int(arrays["seg13"][number][place]), arrays["depth_u8"][number][place] * METRES
            assert batch.y["segmentation"][row][place] == (-1 if label == 255 else label)
            assert batch.weights["segmentation"][row][place] == (label != 255)
            assert batch.y["depth"][row][place] == pytest.approx(depth, rel=1e-6)
            assert batch.weights["depth"][row][place] == (depth > 0)


def test_the_archives_pixel_by_pixel(tmp_path, monkeypatch):
    (tmp_path / "nyuv2").mkdir()
    arrays = write_archives(tmp_path / "nyuv2")
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    splits = jmeta.nyuv2(None, size=3, validation=2)
    drawn = jax.jit(splits.train.sample)(splits.train.data, jax.random.key(0))
    check_rooms(splits.test, range(3), arrays["test"])
    numbers = [np.rint(np.asarray(part.x)[:, 0, 0, 0] * 255).astype(int).tolist() for part in (drawn, splits.validation)]
    for part, found in zip((drawn, splits.validation), numbers, strict=True):
        check_rooms(jax.device_get(part), found, arrays["train"])
    kept = np.asarray(splits.train.data.x)[:, 0, 0, 0].tolist()
    assert splits.train.data.x.dtype == np.uint8
    # A part for each room; a batch has each room once, of those to train on.
    assert sorted(kept + numbers[1]) == [*range(7)]
    assert len(set(numbers[0])) == 3
    assert set(numbers[0]) <= set(kept)
    again, other = (jmeta.nyuv2(None, size=3, validation=2, seed=seed).validation.x for seed in (0, 1))
    np.testing.assert_array_equal(again, splits.validation.x)
    assert not np.array_equal(other, again)
    assert jmeta.nyuv2(None, size=7, validation=0).validation is None


def test_folders_of_mtan(tmp_path):
    arrays = write_folders(tmp_path)
    splits = jmeta.nyuv2(tmp_path, size=2, validation=1)
    tested, known = splits.test, arrays["val"]
    np.testing.assert_array_equal(tested.x, known["image"])
    np.testing.assert_array_equal(tested.y["segmentation"], known["label"])
    np.testing.assert_array_equal(tested.y["depth"], known["depth"])
    np.testing.assert_array_equal(tested.y["normals"], known["normal"])
    np.testing.assert_array_equal(tested.weights["segmentation"], known["label"] != -1)
    np.testing.assert_array_equal(tested.weights["depth"], known["depth"][..., 0] != 0)
    np.testing.assert_array_equal(tested.weights["normals"], np.abs(known["normal"]).sum(-1) != 0)
    drawn = splits.train.sample(splits.train.data, jax.random.key(0))
    rooms = np.asarray(drawn.x)[:, 0, 0, 0].astype(int)
    assert not set(rooms) & set(splits.validation.x[:, 0, 0, 0].astype(int))
    np.testing.assert_array_equal(drawn.y["normals"], arrays["train"]["normal"][rooms])


def test_a_zoom_takes_a_window_and_brings_it_nearer():
    """Against a loop over pixels, with the window that the pixels themselves tell."""
    height, width = 12, 16
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    # Linear in the pixel's place, so that interpolating in between is exact.
    image = np.stack([rows, columns, rows + columns], -1).astype(np.float32)
    normals = np.broadcast_to(np.array([1.0, 2.0, 3.0], np.float32), image.shape)
    targets = {"segmentation": rows * width + columns, "depth": np.full((height, width, 1), 3.0, np.float32), "normals": normals}
    augmented, zooms, mirrors = jax.jit(_nyuv2._augmented), set(), set()
    for seed in range(24):
        x, y = jax.device_get(augmented(image, targets, jax.random.key(seed)))
        mirrored = bool(y["normals"][0, 0, 0] == -1)
        np.testing.assert_array_equal(y["normals"], normals * np.where(mirrored, [-1, 1, 1], 1))
        x, labels = (leaf[:, ::-1] if mirrored else leaf for leaf in (x, y["segmentation"]))
        zoom = 3 / y["depth"][0, 0, 0]
        inner = x[2:-2, 2:-2]
        # A step of one pixel in the picture is one of 1 / zoom in the room, both ways.
        np.testing.assert_allclose(np.diff(inner[..., 0], axis=0), 1 / zoom, atol=1e-4)
        np.testing.assert_allclose(np.diff(inner[..., 1], axis=1), 1 / zoom, atol=1e-4)
        for place in np.ndindex(*inner.shape[:2]):
            row, column = divmod(int(labels[2:-2, 2:-2][place]), width)
            # The nearest pixel is at most half a pixel from the place that the image was read at.
            assert abs(row - inner[(*place, 0)]) < 0.5 + 1e-3
            assert abs(column - inner[(*place, 1)]) < 0.5 + 1e-3
        zooms.add(round(float(zoom), 3))
        mirrors.add(mirrored)
    assert zooms == {1.0, 1.2, 1.5}
    assert mirrors == {True, False}


def test_augmented_batches_keep_their_weights(tmp_path):
    write_folders(tmp_path)
    train = jmeta.nyuv2(tmp_path, size=4, validation=0, augment=True).train
    batch = jax.device_get(jax.jit(train.sample)(train.data, jax.random.key(1)))
    np.testing.assert_array_equal(batch.weights["segmentation"], batch.y["segmentation"] >= 0)
    np.testing.assert_array_equal(batch.weights["depth"], batch.y["depth"][..., 0] > 0)
    np.testing.assert_array_equal(batch.weights["normals"], (batch.y["normals"] != 0).any(-1))
    # Of four rooms, some are drawn with each zoom.
    assert {round(float(depth), 3) for depth in np.unique(batch.y["depth"])} <= {0, 1.5, 3, 1.25, 2.5, 1, 2}


def test_missing_and_damaged_rooms_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("JMETA_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"no NYUv2 data in the environment.*lorenmt/mtan.*nyuv2_96x128_test\.npz") as error:
        jmeta.nyuv2(None)
    assert "\n" not in str(error.value)
    write_folders(tmp_path)
    file = tmp_path / "train" / "depth" / "3.npy"
    content = file.read_bytes()
    for damaged in (content[:-9], b"", b"<html>"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"depth/3\.npy is not a sound array of NYUv2") as error:
            jmeta.nyuv2(tmp_path)
        assert "\n" not in str(error.value)
    for array, message in ((np.zeros((2, 2, 1)), "shape"), (np.full((HEIGHT, WIDTH, 1), None), "allow_pickle=False")):
        np.save(file, array)
        with pytest.raises(ValueError, match=rf"depth/3\.npy is not a sound array of NYUv2 .*{message}"):
            jmeta.nyuv2(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"depth/3\.npy; expected an array for each of the 5 images"):
        jmeta.nyuv2(tmp_path)
    file.write_bytes(content)
    np.save(tmp_path / "val" / "label" / "0.npy", np.full((HEIGHT, WIDTH), 40.0))
    with pytest.raises(ValueError, match=r"val/label must hold classes 0, ..., 12, or none; got -1 to 40"):
        jmeta.nyuv2(tmp_path)

    # Archives come first where both are there.
    arrays = write_archives(tmp_path)
    train = tmp_path / "nyuv2_96x128_train.npz"
    for change, message in (
        ({"seg13": np.full_like(arrays["train"]["seg13"], 13)}, "must hold classes 0, ..., 12, or none; got 13 to 13"),
        ({"depth_u8": arrays["train"]["depth_u8"][:, 1:]}, r"must hold depth_u8 \[7, 6, 8\]; got \(7, 5, 8\)"),
        ({"image": arrays["train"]["image"] / 255}, "must hold image and depth_u8 of bytes"),
        ({"depth_scale_m": 1.0}, "depth_scale_m of the training archive"),
    ):
        np.savez(train, **(arrays["train"] | change))
        with pytest.raises(ValueError, match=message):
            jmeta.nyuv2(tmp_path)
    write_archives(tmp_path)
    with pytest.raises(ValueError, match="validation must leave images to train on; got 7 of 7"):
        jmeta.nyuv2(tmp_path, validation=7)


def test_the_real_rooms(real_data):
    splits = jmeta.nyuv2(real_data("nyuv2"))
    assert [len(splits.train.data.x), len(splits.validation.x), len(splits.test.x)] == [700, 95, 654]
    test = splits.test
    known = test.weights["depth"] > 0
    # No camera of the kind sees nearer than 0.7 m or farther than 10 m; the official test has 17 % of its pixels without a class.
    assert 0.7 < test.y["depth"][known].min() < test.y["depth"].max() < 10
    assert test.weights["segmentation"].mean() == pytest.approx(0.83, abs=0.01)
    assert set(np.unique(test.y["segmentation"])) == {-1, *range(13)}
