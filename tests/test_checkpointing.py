"""A checkpoint comes back bit for bit, or is refused by name."""

import hashlib
import json
import pickle
import random
import shutil
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import jmeta
from jmeta import checkpointing

FLIPS = 60


def tree(step):
    params = {"w": jnp.arange(12.0).reshape(3, 4) / 7 + step, "b": jnp.full(4, step, jnp.bfloat16)}
    return jmeta.init_state(params, optax.adam(1e-3), jax.random.key(step))._replace(step=jnp.int32(step))


def bits(leaf):
    leaf = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return np.asarray(leaf).tobytes()


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (left.dtype, np.shape(left)) == (right.dtype, np.shape(right))
        assert bits(left) == bits(right)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The checkpoints of steps 10 and 20; tests damage a copy."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for step in (10, 20):
        checkpointing.save(directory, step, tree(step))
    return directory


@pytest.fixture
def directory(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def restore(directory):
    return checkpointing.restore(directory, tree(0))


def assert_falls_back(directory, *names):
    """The damage of step 20 is told by a warning with the file's name, and step 10 is restored."""
    with pytest.warns(UserWarning, match="checkpoint 20 is left out: file ") as told:
        step, found = restore(directory)
    assert len(told) == 1
    assert any(str(name) in str(told[0].message) for name in names)
    assert step == 10
    assert_same(found, tree(10))


def test_the_newest_comes_back(directory):
    step, found = restore(directory)
    assert step == 20
    assert_same(found, tree(20))


def test_the_manifest_lists_every_file_with_its_sha_256(written):
    checkpoint = written / "20"
    listed = json.loads((checkpoint / checkpointing.MANIFEST).read_text())["files"]
    others = [path for path in files(checkpoint) if path.name != checkpointing.MANIFEST]
    assert listed == {path.relative_to(checkpoint).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in others}


def test_no_flipped_bit_is_restored_silently(written):
    draw, everything = random.Random(0), [file for file in files(written / "20") if file.stat().st_size]
    sound, hit = 0, set()
    for _ in range(FLIPS):
        file = draw.choice(everything)
        whole = file.read_bytes()
        place, bit = draw.randrange(len(whole)), draw.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        hit.add(file)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            step, found = restore(written)
        file.write_bytes(whole)
        assert_same(found, tree(step))
        if step == 20:
            # Only a space of the manifest may be another space.
            assert (file.name, told) == (checkpointing.MANIFEST, [])
            sound += 1
        else:
            name = str(file if file.name != checkpointing.MANIFEST else written / "20")
            assert step == 10
            assert name in str(told[0].message)
    assert FLIPS - sound >= 55
    assert hit == set(everything), "the draw must meet every file"
    assert restore(written)[0] == 20


def test_each_truncated_file_is_refused(directory):
    for file in files(directory / "20"):
        whole = file.read_bytes()
        if whole:
            file.write_bytes(whole[: len(whole) // 2])
            assert_falls_back(directory, file)
            file.write_bytes(whole)


def test_each_missing_file_is_refused(directory):
    for file in files(directory / "20"):
        file.rename(directory / "aside")
        assert_falls_back(directory, file)
        (directory / "aside").rename(file)


def test_an_added_file_is_refused(directory):
    added = directory / "20" / "leaves" / "added"
    added.write_bytes(b"")
    assert_falls_back(directory, added)


def test_a_second_manifest_deeper_down_is_refused(directory):
    added = directory / "20" / "leaves" / checkpointing.MANIFEST
    added.write_text("{}")
    assert_falls_back(directory, added)


def test_files_swapped_within_a_checkpoint_are_refused(directory):
    first, second = directory / "20" / "structure.json", directory / "20" / "leaves" / "_CHECKPOINT_METADATA"
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    assert_falls_back(directory, first, second)


def test_leaves_swapped_between_checkpoints_are_refused(directory):
    shutil.rmtree(directory / "20" / "leaves")
    shutil.copytree(directory / "10" / "leaves", directory / "20" / "leaves")
    assert_falls_back(directory, directory / "20" / "leaves")


def test_a_manifest_of_another_checkpoint_is_refused(directory):
    shutil.copy(directory / "10" / "manifest.json", directory / "20" / "manifest.json")
    assert_falls_back(directory, directory / "20" / "manifest.json")


def test_a_checkpoint_under_the_name_of_another_step_is_refused(directory):
    shutil.rmtree(directory / "20")
    shutil.copytree(directory / "10", directory / "20")
    assert_falls_back(directory, directory / "20" / "manifest.json")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "{}", '{"step": 20}', '{"step": 20, "files": 1}', "", "{", "\xff"])
def test_a_manifest_that_is_none_is_refused(directory, text):
    (directory / "20" / "manifest.json").write_text(text, encoding="latin-1")
    assert_falls_back(directory, directory / "20" / "manifest.json")


def test_the_file_is_named_where_no_checkpoint_is_sound(directory):
    for step in (10, 20):
        (directory / str(step) / "structure.json").write_text("[]")
    with (
        pytest.warns(UserWarning, match="is left out"),
        pytest.raises(ValueError, match=r"no checkpoint in .* is sound; the oldest: file .*10/structure.json"),
    ):
        restore(directory)


def test_what_is_no_checkpoint_is_ignored(directory):
    (directory / ".partial-30").mkdir()
    (directory / ".partial-30" / "manifest.json").write_text("{}")
    (directory / "notes").mkdir()
    assert checkpointing.steps(directory) == [10, 20]
    assert restore(directory)[0] == 20
    checkpointing.save(directory, 40, tree(40))
    assert not (directory / ".partial-30").exists()


def test_two_checkpoints_are_kept_and_a_damaged_one_is_written_anew(directory):
    (directory / "20" / "manifest.json").unlink()
    checkpointing.save(directory, 20, tree(20))
    assert restore(directory)[0] == 20
    checkpointing.save(directory, 30, tree(30))
    assert checkpointing.steps(directory) == [20, 30]


def test_nothing_to_restore(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match="holds no checkpoint; expected folders named by their step"):
            restore(place)


KINDS = {
    "bfloat16": lambda: jnp.array([1.1, -jnp.inf, jnp.nan], jnp.bfloat16),
    "float16": lambda: jnp.array([1.1, 6e-8], jnp.float16),
    "negative zero and subnormal": lambda: jnp.array([-0.0, 1e-45], jnp.float32),
    "int8": lambda: jnp.array([-128, 127], jnp.int8),
    "uint32": lambda: jnp.array([2**32 - 1], jnp.uint32),
    "bool": lambda: jnp.array([True, False]),
    "scalar": lambda: jnp.float32(1 / 3),
    "empty array": lambda: {"empty": jnp.zeros((0, 3)), "full": jnp.ones(2)},
    "nothing": dict,
    "numpy float64": lambda: np.array([1 / 3]),
    "numpy bfloat16": lambda: np.array([1 / 3], ml_dtypes.bfloat16),
    "key": lambda: jax.random.key(7),
    "keys of another generator": lambda: jax.random.split(jax.random.key(7, impl="rbg"), 3),
    "adam": lambda: optax.adam(1e-3).init({"w": jnp.ones((2, 3))}),
    "chain with empty states": lambda: optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)).init({"w": jnp.ones(3)}),
    "injected": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1).init({"w": jnp.ones(3)}),
    "masked": lambda: optax.masked(optax.adam(0.1), {"w": True, "b": False}).init({"w": jnp.ones(3), "b": jnp.ones(1)}),
    "nested": lambda: {"a/b": [jnp.ones(1), (None, jnp.zeros(2))], "a": {"b": jnp.ones(3)}, "": jnp.ones(4)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_array_comes_back_bit_for_bit(kind, tmp_path):
    expected = KINDS[kind]()
    checkpointing.save(tmp_path, 1, expected)
    # From zeros, so that nothing comes from what is asked for.
    zeros = jax.tree.map(lambda leaf: leaf if str(leaf.dtype).startswith("key") else (leaf * 0).astype(leaf.dtype), expected)
    _, found = checkpointing.restore(tmp_path, zeros)
    assert_same(found, expected)


def test_float64_comes_back_bit_for_bit(x64, tmp_path):
    expected = {"w": jnp.array([1 / 3, 1e-300], jnp.float64), "n": jnp.int64(2**60)}
    checkpointing.save(tmp_path, 1, expected)
    _, found = checkpointing.restore(tmp_path, jax.tree.map(jnp.zeros_like, expected))
    assert found["w"].dtype == jnp.float64
    assert_same(found, expected)


def test_a_leaf_is_bound_to_a_device_where_that_of_the_state_is(tmp_path):
    second = jax.devices()[1]
    checkpointing.save(tmp_path, 1, {"free": jnp.ones(3), "bound": jnp.ones(3)})
    like = {"free": jnp.zeros(3), "bound": jax.device_put(jnp.zeros(3), second)}
    _, found = checkpointing.restore(tmp_path, like)
    assert (found["free"].committed, found["bound"].committed, found["bound"].devices()) == (False, True, {second})


def test_a_key_comes_back_as_a_key_of_its_generator(tmp_path):
    key = jax.random.key(7, impl="rbg")
    checkpointing.save(tmp_path, 1, key)
    _, found = checkpointing.restore(tmp_path, jax.random.key(0, impl="rbg"))
    assert jax.random.uniform(found) == jax.random.uniform(key)
    with pytest.raises(ValueError, match=r"got 1 arrays with .*key<rbg>.*, expected 1 with .*key<fry>"):
        checkpointing.restore(tmp_path, jax.random.key(0))


OTHERS = {
    "a shape": (lambda state: state._replace(params=state.params | {"b": jnp.zeros(5, jnp.bfloat16)}), r"bfloat16\[5\]"),
    "a dtype": (lambda state: state._replace(params=state.params | {"b": jnp.zeros(4)}), r"float32\[4\]"),
    "a name": (lambda state: state._replace(params={"w": state.params["w"], "c": state.params["b"]}), r"\['c'\]"),
    "one more": (
        lambda state: state._replace(params=state.params | {"z": jnp.ones(1)}),
        "got 9 arrays with nothing else, expected 10 with .*'z'",
    ),
    "one less": (lambda state: state._replace(optimizer_state=()), "got 9 arrays with .* expected 4 with nothing else"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_structure_is_refused_in_a_sentence(other, directory):
    change, words = OTHERS[other]
    with pytest.raises(ValueError, match=rf"must hold what is to be restored: the same model, .*{words}"):
        checkpointing.restore(directory, change(tree(0)))


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    checkpointing.save(tmp_path, 1, tree(1))
    assert_same(checkpointing.restore(tmp_path, tree(0))[1], tree(1))


def test_the_structure_can_be_read_by_eye(written):
    structure = json.loads((written / "20" / "structure.json").read_text())
    assert [".params['w']", "float32", [3, 4]] in structure
    assert [".key", "key<fry>", []] in structure
