"""Omniglot from both sources: drawings made up here, and the real ones where they are."""

import io
import sys
import zipfile

import jax
import numpy as np
import pytest

import jmeta
from jmeta.tasks import _omniglot

VINYALS = {"train": 1028, "validation": 172, "test": 423}
ARRAYS = {"train": "vinyals_train", "validation": "vinyals_val", "test": "vinyals_test"}
# What floor((i + 0.5) * 105 / 28) picks of 105 rows.
KEPT = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)


def png(ink):
    """An official drawing: one bit per pixel, ink black."""
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).convert("1").save(stream, "PNG")
    return stream.getvalue()


def write_zips(folder, drawings):
    """Writes {(background, alphabet, character): ink [20, 105, 105]} in the official layout."""
    for background, name in ((True, "images_background"), (False, "images_evaluation")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(f"__MACOSX/{name}/Greek/character01/._0001_01.png", b"no image")
            for number, ((real, alphabet, character), inks) in enumerate(drawings.items()):
                for index, ink in enumerate(inks if real == background else ()):
                    archive.writestr(f"{name}/{alphabet}/character{character:02}/{number:04}_{index + 1:02}.png", png(ink))


MADE_UP = (
    (True, "Latin", 2),
    (True, "Latin", 1),
    (True, "Hebrew", 1),
    (False, "Angelic", 1),
    (False, "Gurmukhi", 41),
    (False, "Gurmukhi", 42),
    (False, "ULOG", 3),
)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Random drawings of seven characters, as archives."""
    folder = tmp_path_factory.mktemp("omniglot")
    random = np.random.default_rng(0)
    drawings = {place: random.random((20, 105, 105)) < 0.5 for place in MADE_UP}
    write_zips(folder, drawings)
    return folder, drawings


@pytest.mark.parametrize(
    ("split", "places"),
    [
        ("train", [(True, "Latin", 1), (True, "Latin", 2), (False, "Angelic", 1), (False, "Gurmukhi", 41)]),
        ("validation", [(True, "Hebrew", 1)]),
        ("test", [(False, "Gurmukhi", 42), (False, "ULOG", 3)]),
    ],
)
def test_the_official_archives_are_split_and_reduced(made_up, split, places):
    folder, drawings = made_up
    sampler = jmeta.omniglot(folder, split, ways=2, queries=1)
    expected = np.stack([drawings[place][:, KEPT][:, :, KEPT] for place in places]).astype(np.uint8) * 255
    np.testing.assert_array_equal(sampler.data["x"][..., 0], expected)


def test_an_episode_has_ink_1_on_0(made_up):
    sampler = jmeta.omniglot(str(made_up[0]), "train", ways=5, shots=1, queries=2)
    episode = jax.jit(sampler.sample)(sampler.data, jax.random.key(0))
    assert (episode.support.x.shape, episode.query.x.shape) == ((5, 28, 28, 1), (10, 28, 28, 1))
    assert set(np.unique(episode.support.x)) == {0.0, 1.0}


def write_archive(file, characters=6):
    random = np.random.default_rng(0)
    images = np.where(random.random((characters, 20, 28, 28)) < 0.5, 0, 255).astype(np.uint8)
    classes = np.array([(index, turns) for index in range(2, characters) for turns in range(4)], np.int16)
    np.savez_compressed(file, images=images, vinyals_test=classes)
    return images


def test_the_npz_archive_is_read_by_folder_by_file_and_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    file = tmp_path / "omniglot" / "omniglot28.npz"
    images = write_archive(file)
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    for path in (file, str(file.parent), None):
        np.testing.assert_array_equal(jmeta.omniglot(path, "test").data["x"][..., 0], images[2:])


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_missing_data_says_what_to_put_where(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        jmeta.omniglot(tmp_path, "train")
    text = one_sentence(error)
    assert all(part in text for part in (str(tmp_path), "images_background.zip", "images_evaluation.zip", "omniglot28.npz", "path"))
    monkeypatch.delenv("JMETA_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as error:
        jmeta.omniglot(None, "train")
    assert "JMETA_DATA is not set" in one_sentence(error)


@pytest.mark.parametrize("split", ["val", "Train", 1, None])
def test_an_unknown_split_is_refused_before_anything_is_read(tmp_path, split):
    with pytest.raises(ValueError, match=f"split must be one of train, validation, test; got {split!r}"):
        jmeta.omniglot(tmp_path, split)


def damages(content):
    """A truncated file, no file of the kind, and one byte that is not what it was."""
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "other": b"<html>",
        "empty": b"",
        "flipped": content[:middle] + b"\xa5\x5a" + content[middle + 2 :],
    }


@pytest.mark.parametrize("damage", ["truncated", "other", "empty", "flipped"])
def test_a_damaged_archive_is_named(tmp_path, made_up, damage):
    for name in ("images_background.zip", "images_evaluation.zip"):
        (tmp_path / name).write_bytes((made_up[0] / name).read_bytes())
    target = tmp_path / "images_evaluation.zip"
    target.write_bytes(damages(target.read_bytes())[damage])
    # The middle of this archive, where the byte is flipped, is a drawing of Gurmukhi 42.
    with pytest.raises(ValueError, match=r"images_evaluation\.zip is no sound Omniglot archive") as error:
        jmeta.omniglot(tmp_path, "test", ways=1, queries=1)
    one_sentence(error)

    file = tmp_path / "omniglot28.npz"
    write_archive(file)
    file.write_bytes(damages(file.read_bytes())[damage])
    with pytest.raises(ValueError, match=r"omniglot28\.npz is not a sound Omniglot archive") as error:
        jmeta.omniglot(tmp_path, "test")
    one_sentence(error)


def test_an_archive_of_something_else_is_named(tmp_path):
    file = tmp_path / "omniglot28.npz"
    np.savez(file, images=np.zeros((3, 20, 32, 32), np.uint8), vinyals_test=np.zeros((1, 2), int))
    with pytest.raises(ValueError, match=r"must hold images \[characters, 20, 28, 28\]; got \(3, 20, 32, 32\)"):
        jmeta.omniglot(file, "test")
    with pytest.raises(ValueError, match="expected arrays images and vinyals_train") as error:
        jmeta.omniglot(file, "train")
    one_sentence(error)


def test_incomplete_characters_are_named(tmp_path):
    write_zips(tmp_path, {(True, "Latin", 7): np.zeros((19, 105, 105), bool)})
    with pytest.raises(ValueError, match="must hold 20 drawings of every character; got 19 of character 7 of Latin"):
        jmeta.omniglot(tmp_path, "train")
    with pytest.raises(ValueError, match="drawings of the test split; got none"):
        jmeta.omniglot(tmp_path, "test")


def test_reading_the_official_archives_without_pillow_names_the_extra(made_up, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'jmeta\[images\]'") as error:
        jmeta.omniglot(made_up[0], "train")
    one_sentence(error)


# --- the real drawings -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(omniglot_path):
    with np.load(f"{omniglot_path}/omniglot28.npz") as archive:
        return {name: archive[name] for name in archive.files}


def test_the_splits_are_vinyals(omniglot_path, archive):
    seen = []
    for split, characters in VINYALS.items():
        data = jmeta.omniglot(omniglot_path, split).data
        classes = archive[ARRAYS[split]]
        assert data["x"].shape == (characters, 20, 28, 28, 1)
        assert data["x"].dtype == np.uint8
        # Each character in each of its four rotations, and the images of these characters.
        own = np.unique(classes[:, 0])
        assert set(map(tuple, classes)) == {(index, turns) for index in own for turns in range(4)}
        np.testing.assert_array_equal(data["x"][..., 0], archive["images"][own])
        # The rule that splits the official archives says the same.
        names = archive["alphabet_names"][archive["alphabet_id"]]
        ruled = [
            _omniglot._split_of(name, number, background=background) == split
            for name, number, background in zip(names, archive["character_id"], archive["is_background"], strict=True)
        ]
        np.testing.assert_array_equal(np.flatnonzero(ruled), own)
        seen.extend(own)
    assert sorted(seen) == list(range(1623))


def test_the_rotations_of_an_episode_are_vinyals_classes(omniglot_path, archive):
    sampler = jmeta.omniglot(omniglot_path, "validation", ways=20, shots=1, queries=1)
    episode = jax.jit(sampler.sample)(sampler.data, jax.random.key(0))
    found = set()
    for support, query in zip(np.asarray(episode.support.x), np.asarray(episode.query.x), strict=True):
        matches = [
            {
                (index, turns)
                for index, turns in archive["vinyals_val"]
                if (np.rot90(archive["images"][index], turns, (1, 2)) == image).all((1, 2)).any()
            }
            for image in (support[..., 0] * 255, query[..., 0] * 255)
        ]
        (common,) = set.intersection(*matches)
        found.add(tuple(map(int, common)))
    assert len(found) == 20
    assert len({turns for _, turns in found}) == 4


def test_both_sources_give_the_same_images_in_the_same_order(omniglot_path, archive, tmp_path):
    """A few real alphabets, cut from the 105x105 drawings, as the official archives hold them."""
    with np.load(f"{omniglot_path}/omniglot105.npz") as large:
        packed = large["images_packed"]
    names = archive["alphabet_names"][archive["alphabet_id"]]
    chosen = {"Syriac_(Estrangelo)", "Anglo-Saxon_Futhorc", "Hebrew", "Atlantean", "Gurmukhi", "Keble"}
    # The first and last few characters of each, and the ones around Gurmukhi's divide.
    index = [i for i in np.flatnonzero(np.isin(names, list(chosen))) if archive["character_id"][i] in (1, 2, 20, 40, 41, 42, 45)]
    inks = np.unpackbits(packed[index], axis=-1)[..., : 105 * 105].reshape(-1, 20, 105, 105).astype(bool)
    places = [(bool(archive["is_background"][i]), str(names[i]), int(archive["character_id"][i])) for i in index]
    shuffled = np.random.default_rng(0).permutation(len(index))
    write_zips(tmp_path, {places[i]: inks[i] for i in shuffled})
    for split in VINYALS:
        own = [i for i in index if i in archive[ARRAYS[split]][:, 0]]
        read = jmeta.omniglot(tmp_path, split, ways=1, queries=1).data["x"]
        assert len(read) > 1
        np.testing.assert_array_equal(read[..., 0], archive["images"][own])
