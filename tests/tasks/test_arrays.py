"""The on-device N-way K-shot sampler; images carry their own class and example, so every draw can be read back."""

import hashlib

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta.tasks import from_classes

COUNTS = (6, 9, 5, 7)  # examples of the classes
LABELS = (40, -3, 7, 12)  # any integers


def marked(counts=COUNTS, labels=LABELS, dtype=np.float32):
    """Examples [n, 2] that are (class, example), in shuffled order, and their labels."""
    rows = [(label, (index, example)) for index, label in enumerate(labels) for example in range(counts[index])]
    order = np.random.default_rng(0).permutation(len(rows))
    return np.array([rows[i][1] for i in order], dtype), np.array([rows[i][0] for i in order])


def draw(sampler, count, seed=0):
    """``count`` episodes as numpy arrays with a leading axis."""
    sampler = jmeta.batch_tasks(sampler, count)
    return jax.tree.map(np.asarray, jax.jit(sampler.sample)(sampler.data, jax.random.key(seed)))


def pairs(x):
    return [tuple(map(int, row)) for row in x]


def drawn_classes(episode_x, shots):
    """The class at each position of an episode, [ways]."""
    return episode_x[::shots, 0].astype(int)


@hypothesis.settings(derandomize=True, deadline=None, max_examples=10, database=None)
@hypothesis.given(
    counts=st.lists(st.integers(2, 6), min_size=1, max_size=5), data=st.data(), seed=st.integers(0, 2**31 - 1), rows=st.booleans()
)
def test_episodes_are_balanced_disjoint_and_true_to_their_labels(counts, data, seed, rows):
    ways = data.draw(st.integers(1, len(counts)))
    shots = data.draw(st.integers(1, min(counts) - 1))
    queries = data.draw(st.integers(1, min(counts) - shots))
    x, y = marked(counts, [10 * index + 5 for index in range(len(counts))])
    sampler = jmeta.from_arrays(x if rows else x[:, None], y, ways=ways, shots=shots, queries=queries)
    episode = jax.tree.map(np.asarray, jax.jit(sampler.sample)(sampler.data, jax.random.key(seed)))
    support, query = (pairs(batch.x.reshape(-1, 2)) for batch in episode[:2])
    assert episode.support.mask is None
    np.testing.assert_array_equal(episode.classes, [True] * ways)
    np.testing.assert_array_equal(np.bincount(episode.support.y, minlength=ways), [shots] * ways)
    np.testing.assert_array_equal(np.bincount(episode.query.y, minlength=ways), [queries] * ways)
    # No example twice, none that does not exist, in support and query together.
    assert len({*support, *query}) == ways * (shots + queries)
    assert {*support, *query} <= set(pairs(x))
    # One class per label, the same in support and query, another for every label.
    classes = {
        (int(label), index) for label, (index, _) in zip([*episode.support.y, *episode.query.y], support + query, strict=True)
    }
    assert len(classes) == len({index for _, index in classes}) == ways


def test_every_class_takes_every_position_equally_often():
    x, y = marked()
    episodes = draw(jmeta.from_arrays(x, y, ways=3, shots=1, queries=1), 4000)
    positions = episodes.support.x[..., 0].astype(int)
    frequency = np.stack([np.bincount(column, minlength=4) for column in positions.T]) / 4000
    # 1/4 each with standard error 0.0068; 4 of them over 12 cells.
    assert np.abs(frequency - 0.25).max() < 4 * 0.0069


def test_every_example_of_classes_of_unequal_sizes_is_drawn_equally_often():
    x, y = marked()
    episodes = draw(jmeta.from_arrays(x, y, ways=4, shots=2, queries=3), 2000)
    for part, per_class in ((episodes.support, 2), (episodes.query, 3)):
        rows = part.x.reshape(-1, 2).astype(int)
        for index, count in enumerate(COUNTS):
            share = np.bincount(rows[rows[:, 0] == index, 1], minlength=count) / 2000
            assert len(share) == count
            # Each is drawn in per_class / count of the episodes; the standard error is at most 0.5 / sqrt(2000) = 0.0112.
            assert np.abs(share - per_class / count).max() < 4 * 0.0112


def test_keys_decide_and_the_caller_keeps_the_arrays():
    x, y = marked()
    sampler = jmeta.from_arrays(x, y, ways=2, shots=1, queries=1)
    one, again, other = (sampler.sample(sampler.data, jax.random.key(seed)).query.x for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    x[:] = -1
    np.testing.assert_array_equal(sampler.sample(sampler.data, jax.random.key(0)).query.x, one)


def test_uint8_stays_on_the_device_and_is_a_float_in_the_episode():
    x = np.arange(256, dtype=np.uint8).reshape(256, 1)
    sampler = jmeta.from_arrays(x, np.zeros(256, int), ways=1, shots=128, queries=128)
    assert sampler.data["x"].dtype == np.uint8
    episode = sampler.sample(sampler.data, jax.random.key(0))
    values = np.sort(np.concatenate([episode.support.x, episode.query.x]).ravel())
    assert values.dtype == np.float32
    assert (values[0], values[-1]) == (0.0, 1.0)
    np.testing.assert_allclose(values, np.arange(256) / 255, rtol=2e-7)  # one rounding of float32


def test_the_data_is_an_argument_of_the_compiled_sampler():
    x = np.zeros((4096, 16), np.uint8)
    sampler = jmeta.batch_tasks(jmeta.from_arrays(x, np.arange(4096) // 8, ways=5, shots=1, queries=1), 4)
    closed = jax.make_jaxpr(sampler.sample)(sampler.data, jax.random.key(0))
    assert sampler.data["x"].nbytes == x.nbytes
    assert sum(np.asarray(constant).nbytes for constant in closed.consts) < 64


# --- rotations -------------------------------------------------------------------------------------------------------------------


def images(classes=3, examples=4, size=5):
    """Images whose value at each pixel is unlike every other; float, so nothing is rescaled."""
    values = np.arange(classes * examples * size * size, dtype=np.float32)
    return values.reshape(classes, examples, size, size, 1)


def turns_of(image, x):
    """Finds (class, example, quarter turns) of an image."""
    index, example = divmod(int(image.min()) // 25, x.shape[1])
    (turns,) = [k for k in range(4) if np.array_equal(np.rot90(x[index, example], k), image)]
    return index, example, turns


@pytest.fixture(scope="module")
def rotated():
    """200 episodes read back: (class, example, turns) of each row, [episodes, ways, rows]."""
    x = images()
    sampler = from_classes(x, np.full(3, 4), ways=5, shots=2, queries=2, rotations=True)
    episodes = draw(sampler, 200)
    found = []
    for part in episodes[:2]:
        rows = [[turns_of(image, x) for image in episode] for episode in part.x]
        found.append(np.array(rows).reshape(200, 5, 2, 3))
        np.testing.assert_array_equal(part.y, np.tile(np.repeat(np.arange(5), 2), (200, 1)))
    return np.concatenate(found, axis=2)


def test_each_class_of_an_episode_has_a_rotation_of_its_own(rotated):
    turns = rotated[..., 2]
    # All images of a label, support and query, are turned alike ...
    assert (turns == turns[:, :, :1]).all()
    # ... but the labels of an episode are not, which is what a closure over the last angle would do.
    assert (turns[:, :, 0] != turns[:, -1:, 0]).any(axis=1).mean() > 0.9


def test_rotated_classes_are_new_classes(rotated):
    assert (rotated[..., 0] == rotated[:, :, :1, 0]).all()
    classes = [set(map(tuple, episode)) for episode in rotated[:, :, 0][..., [0, 2]]]
    # Five of the twelve (class, turns), all different, and in some episode one character under two labels.
    assert {len(found) for found in classes} == {5}
    assert any(len({index for index, _ in found}) < 5 for found in classes)
    assert set.union(*classes) == {(index, turns) for index in range(3) for turns in range(4)}


def test_rotated_examples_do_not_leak_from_support_to_query(rotated):
    for episode in rotated.reshape(200, 20, 3):
        assert len(set(map(tuple, episode))) == 20


def test_rotations_count_as_classes_and_need_squares():
    x, y = images().reshape(12, 5, 5, 1), np.repeat(np.arange(3), 4)
    with pytest.raises(ValueError, match="got ways=13 and 12 classes"):
        jmeta.from_arrays(x, y, ways=13, shots=1, queries=1, rotations=True)
    with pytest.raises(ValueError, match=r"square images .* got float32\[3, 4, 5, 4, 1\] by class"):
        jmeta.from_arrays(x[:, :, :4], y, ways=2, shots=1, queries=1, rotations=True)


# --- the same episodes everywhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda function: function, jax.jit], ids=["eager", "jit"])
def test_an_episode_is_the_same_on_every_stack(wrap):
    x = (np.arange(63 * 16) % 251).astype(np.uint8).reshape(63, 4, 4, 1)
    sampler = jmeta.from_arrays(x, np.arange(63) % 7, ways=3, shots=2, queries=3, rotations=True)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(wrap(sampler.sample)(sampler.data, jax.random.key(7))[:2]):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    assert digest.hexdigest()[:16] == "d88119b40bb1772f"


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 1), int), {}, r"y must be \[n\]"),
        (np.zeros((4, 2)), np.zeros(3, int), {}, r"got y \(3,\) and x \(4, 2\)"),
        (np.zeros((4, 2)), np.zeros(4), {}, "integer labels; got dtype float64"),
        (np.zeros((0, 2)), np.zeros(0, int), {}, "at least one example"),
        (np.full((4, 2), np.inf), np.zeros(4, int), {}, "x must be finite; got 8"),
        (np.zeros((4, 2)), np.zeros(4, int), {"queries": 4}, "got 1 [+] 4 and class 0 with 4"),
        (np.zeros((4, 2)), np.zeros(4, int), {"ways": 2}, "got ways=2 and 1 classes"),
        (np.zeros((4, 2)), np.zeros(4, int), {"shots": 0}, "shots must be a whole number of at least 1; got 0"),
    ],
)
def test_arrays_that_make_no_episode_are_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.from_arrays(x, y, **({"ways": 1, "shots": 1, "queries": 1} | options))


@pytest.mark.parametrize(
    "build",
    [lambda x: {"ids": x, "there": x > 0}, lambda x: (x, x[:, :1]), lambda x: [*map(list, x.tolist())]],
    ids=["dict", "tuple", "list"],
)
def test_examples_may_be_trees_of_arrays_and_lists_of_numbers(build):
    x, y = marked()
    sampler = jmeta.from_arrays(build(x), y.tolist(), ways=2, shots=2, queries=1)
    episode = jax.tree.map(np.asarray, sampler.sample(sampler.data, jax.random.key(0)))
    rows = pairs(jax.tree.leaves(episode.support.x)[0]) + pairs(jax.tree.leaves(episode.query.x)[0])
    assert len({*rows}) == 6
    assert {*rows} <= {*pairs(x)}
    if isinstance(episode.support.x, dict):
        np.testing.assert_array_equal(episode.support.x["there"], episode.support.x["ids"] > 0)
    if isinstance(episode.support.x, tuple):
        np.testing.assert_array_equal(episode.support.x[1], episode.support.x[0][:, :1])


def sparse():
    return pytest.importorskip("scipy.sparse").csr_matrix(np.eye(4))


def dense_type(dtype, value):
    return lambda: jnp.full((4, 2), value, dtype)


UNFIT = {
    "nothing": (lambda: None, "x must hold arrays; got None"),
    "an empty tree": (dict, "x must hold arrays; got dict"),
    "a text": (lambda: "images", "x must hold arrays; got str"),
    "texts": (lambda: np.array(["a", "b", "c", "d"]), "x must hold numbers; got dtype <U1"),
    "texts in a list": (lambda: [*"abcd"], "x must hold numbers; got dtype <U1"),
    "objects": (lambda: np.array([None, 1, 2, 3], object), "x must hold numbers; got dtype object"),
    "dates": (lambda: np.array(["2020-01-01"] * 4, "datetime64[D]"), r"x must hold numbers; got dtype datetime64\[D\]"),
    "a sparse matrix": (sparse, "x must hold numpy or jax arrays; got csr_matrix: make it one, a sparse one dense"),
    "rows of different lengths": (lambda: [[1.0], [1.0, 2.0], [1.0], [1.0]], "x must have rows of one shape; got a list"),
    "a list in a dict": (lambda: {"x": [1.0, 2, 3, 4]}, "x must hold arrays; got float"),
    "NaN of bfloat16": (dense_type(jnp.bfloat16, jnp.nan), "x must be finite; got 8 values that are NaN or infinite"),
    "infinity of float16": (dense_type(jnp.float16, jnp.inf), "x must be finite; got 8 values that are NaN or infinite"),
    "infinity of eight bits": (dense_type(jnp.float8_e5m2, jnp.inf), "x must be finite; got 8 values that are NaN or infinite"),
    "NaN of complex numbers": (dense_type(jnp.complex64, complex(0, np.nan)), "x must be finite; got 8 values"),
    "NaN in one leaf": (lambda: {"a": np.ones((4, 1)), "b": np.full((4, 1), np.nan)}, "x must be finite; got 4 values"),
    "numbers beyond 32 bits": (lambda: np.array([0, 1, 2, -(2**31) - 1]), "x must fit into int32; got int64 from -2147483649 to 2"),
    "numbers beyond float32": (lambda: np.array([0, 1, 2, 1e39]), r"x must fit into float32; got float64 from 0.0 to 1e\+39"),
    "no number in an example": (lambda: np.zeros((4, 0)), r"x must hold at least one number per example; got \(4, 0\)"),
    "scalars": (
        lambda: {"a": np.ones((4, 1)), "b": np.ones(())},
        r"y must be \[n\] with one label per row of x; got y \(4,\) and x",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_no_array_of_finite_numbers_is_refused(name):
    build, message = UNFIT[name]
    with pytest.raises(ValueError, match=message) as error:
        jmeta.from_arrays(build(), np.zeros(4, int), ways=1, shots=1, queries=1)
    assert "\n" not in str(error.value)


def test_numbers_that_fit_into_32_bits_are_kept():
    x = np.array([[2**31 - 1], [-(2**31)]])
    sampler = jmeta.from_arrays(x, np.zeros(2, int), ways=1, shots=1, queries=1)
    assert sorted(np.ravel(sampler.data["x"])) == [-(2**31), 2**31 - 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 2.5}, "ways must be a whole number of at least 1; got 2.5"),
        ({"shots": "1"}, "shots must be a whole number of at least 1; got '1'"),
        ({"queries": True}, "queries must be a whole number of at least 1; got True"),
        ({"queries": float("nan")}, "queries must be a whole number of at least 1; got nan"),
    ],
)
def test_counts_are_whole_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.from_arrays(np.ones((4, 2)), np.zeros(4, int), **{"ways": 1, "shots": 1, "queries": 1} | options)
    with pytest.raises(ValueError, match=message):
        from_classes(np.ones((1, 4, 2)), np.array([4]), **{"ways": 1, "shots": 1, "queries": 1} | options)
    sampler = jmeta.from_arrays(np.ones((4, 2)), np.zeros(4, int), ways=np.int64(1), shots=np.int32(1), queries=1)
    assert sampler.sample(sampler.data, jax.random.key(0)).query.x.shape == (1, 2)


@pytest.mark.parametrize("counts", [[4, 4], [5]])
def test_counts_of_classes_are_those_of_the_examples(counts):
    with pytest.raises(ValueError, match=r"counts must be \[classes\], at most 4 examples for each of 1 classes; got"):
        from_classes(np.ones((1, 4, 2)), np.array(counts), ways=1, shots=1, queries=1)
