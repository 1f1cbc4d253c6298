"""Made-up characters against an integral by hand, exact turns, and a classifier that compares pixels."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta
from jmeta.tasks import _strokes

KEY = jax.random.key(0)


def drawn(sampler, key=KEY):
    return jax.device_get(jax.jit(sampler.sample)(sampler.data, key))


def one(*points, pen):
    """A glyph of one stroke."""
    controls = jnp.zeros((_strokes.MOST_STROKES, 4, 2)).at[0].set(jnp.array(points))
    return _strokes.Glyph(controls, jnp.eye(_strokes.MOST_STROKES)[0], jnp.asarray(pen))


@pytest.fixture(scope="module")
def characters():
    """Forty characters."""
    return jax.jit(jax.vmap(_strokes.character))(jnp.stack([jnp.zeros(40, jnp.uint32), jnp.arange(40, dtype=jnp.uint32)], axis=1))


def test_a_line_has_the_profile_of_the_pen():
    pen, size = 0.06, 40
    line = one((-0.75, 0.1), (-0.25, 0.1), (0.25, 0.1), (0.75, 0.1), pen=pen)
    distances = (np.arange(size) + 0.5) / size - 0.5 - 0.1
    # Marks are at most 1.2 pens apart, but unevenly; the ends are 4 pens beyond the image.
    expected = 1 - np.exp(-3 * np.exp(-np.square(distances / pen) / 2))
    np.testing.assert_allclose(jax.jit(_strokes.ink, static_argnums=1)(line, size), np.tile(expected[:, None], size), atol=5e-4)


def test_ink_is_the_integral_of_the_pens_mark_along_the_strokes(characters):
    size, t = 24, np.linspace(0, 1, 4001)
    weights = np.stack([math.comb(3, k) * t**k * (1 - t) ** (3 - k) for k in range(4)], axis=1)
    pixels = (np.arange(size) + 0.5) / size - 0.5
    draw = jax.jit(_strokes.ink, static_argnums=1)
    # As large as the largest drawings are.
    characters = characters._replace(controls=0.62 * math.exp(_strokes.STRETCH) * characters.controls)
    for glyph in (jax.tree.map(lambda leaf, at=at: leaf[at], characters) for at in range(4)):
        pen, density = float(glyph.pen), np.zeros((size, size))
        for stroke, there in zip(np.asarray(glyph.controls, np.float64), np.asarray(glyph.drawn), strict=True):
            curve = weights @ stroke
            lengths = there * np.hypot(*np.diff(curve, axis=0).T)
            for y, x in np.ndindex(size, size):
                squares = np.square(curve[:-1] - [pixels[x], pixels[y]]).sum(axis=1)
                density[y, x] += (lengths * np.exp(-squares / (2 * pen**2))).sum() / (pen * math.sqrt(2 * math.pi))
        found, expected = draw(glyph, size), 1 - np.exp(-3 * density)
        # Marks are up to 2 pens apart, which is just seen; a tenth too much ink would be off by more.
        np.testing.assert_allclose(found, expected, atol=0.05)
        assert np.abs(found - expected).mean() < 0.003


def test_characters_fill_the_unit_square_with_two_to_four_strokes(characters):
    curves = np.asarray(jax.vmap(_strokes._curves)(characters.controls))
    counts = np.asarray(characters.drawn).sum(axis=1)
    assert set(counts) == {2, 3, 4}
    for curve, count in zip(curves, counts, strict=True):
        low, high = (edge(curve[: int(count)].reshape(-1, 2), axis=0) for edge in (np.min, np.max))
        np.testing.assert_allclose((high - low).max(), 1, rtol=1e-5)
        np.testing.assert_allclose(low + high, 0, atol=1e-5)


def test_most_strokes_begin_on_the_one_before(characters):
    first, second, third, last = np.moveaxis(np.asarray(characters.controls), 2, 0)
    joints = np.stack([first, (first + 3 * second + 3 * third + last) / 8, last])[:, :, :-1]
    at = np.isclose(joints, first[:, 1:], atol=1e-5).all(axis=-1)
    # 60 % of 120, in equal parts, within four standard errors.
    assert abs(at.any(axis=0).mean() - 0.6) < 4 * math.sqrt(0.24 / 120)
    assert (abs(at.mean(axis=(1, 2)) - 0.2) < 4 * math.sqrt(0.16 / 120)).all()


def test_a_drawing_is_off_by_its_deviates(characters):
    glyph, deviates = jax.tree.map(lambda leaf: leaf[0], characters), np.linspace(-1, 1, _strokes.DEVIATES, dtype=np.float32)
    found = jax.jit(_strokes.vary)(deviates, glyph, 0.5)
    x, y = np.moveaxis(np.asarray(glyph.controls) + 0.04 * deviates[:-4].reshape(4, 4, 2), 2, 0)
    width, height, slant, thickness = deviates[-4:]
    expected = np.stack([np.exp(0.09 * width) * x + 0.11 * slant * y, np.exp(0.09 * height) * y], axis=-1)
    np.testing.assert_allclose(found.controls, expected, atol=1e-6)
    np.testing.assert_allclose(found.pen, 0.024 * np.exp(0.1 * thickness), rtol=1e-6)


def test_a_quarter_turn_clockwise_is_that_of_the_image(characters):
    glyph = jax.tree.map(lambda leaf: leaf[3], characters)

    @jax.jit
    def turned(angle):
        return _strokes.ink(_strokes.place(glyph, angle, 0.6, jnp.zeros(2)), 28)

    for quarters in range(4):
        np.testing.assert_allclose(turned(quarters * math.pi / 2), np.rot90(turned(0.0), -quarters), atol=1e-5)


@pytest.fixture(scope="module")
def episodes():
    """A sampler, a hundred keys, and the episode of each."""
    sampler, keys = jmeta.glyphs(ways=5, shots=5, queries=15), jax.random.split(KEY, 100)
    traces = []

    @jax.jit
    def draw(data, keys):
        traces.append(keys)
        return jax.lax.map(lambda key: sampler.sample(data, key), keys)

    found = jax.device_get([draw(sampler.data, part) for part in (keys[:50], keys[50:])])
    assert len(traces) == 1
    return sampler, keys, jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def test_an_episode_is_balanced_grouped_and_in_range(episodes):
    _, _, found = episodes
    assert (found.support.x.shape, found.query.x.shape) == ((100, 25, 28, 28, 1), (100, 75, 28, 28, 1))
    for batch, count in ((found.support, 5), (found.query, 15)):
        assert batch.x.dtype == np.float32
        assert batch.x.min() >= 0
        # Every drawing has dark ink, on light paper.
        assert (batch.x.max((2, 3, 4)) > 0.9).all()
        assert batch.x.max() <= 1
        assert 0.05 < batch.x.mean() < 0.25
        np.testing.assert_array_equal(batch.y, np.tile(np.repeat(np.arange(5), count), (100, 1)))
    assert found.classes.shape == (100, 5)
    assert found.classes.all()


def test_an_episode_depends_on_its_key_alone(episodes):
    sampler, keys, found = episodes
    together = jax.device_get(jax.jit(jax.vmap(sampler.sample, (None, 0)))(sampler.data, keys[6:9]))
    # Products of matrices add up in another order.
    chex.assert_trees_all_close(together, jax.tree.map(lambda leaf: leaf[6:9], found), atol=1e-5)
    jmeta.check_episode(jax.tree.map(lambda leaf: leaf[0], together))


def test_pixels_tell_the_classes_apart_a_little(episodes):
    _, _, found = episodes
    centroids = found.support.x.reshape(100, 5, 5, -1).mean(axis=2)
    queries = found.query.x.reshape(100, 75, -1)
    distances = np.square(queries[:, :, None] - centroids[:, None]).sum(axis=-1)
    accuracies = (distances.argmin(axis=-1) == found.query.y).mean(axis=1)
    # Four standard errors.
    error = 4 * accuracies.std() / math.sqrt(len(accuracies))
    assert accuracies.mean() - error > 0.3
    assert accuracies.mean() + error < 0.6


def test_splits_share_no_character_and_a_finite_set_is_drawn_without_replacement():
    seen, options = {}, {"ways": 4, "shots": 1, "queries": 2, "size": 8, "classes": 6, "jitter": 0.0}
    # One program draws all splits.
    sample = jax.jit(jmeta.glyphs(**options).sample)
    for split in _strokes.SPLITS:
        data = jmeta.glyphs(**options, split=split).data
        for key in jax.random.split(KEY, 10):
            episode = jax.device_get(sample(data, key))
            # Without jitter all drawings of a class are one, and those of other classes are others.
            np.testing.assert_array_equal(episode.query.x, np.repeat(episode.support.x, 2, axis=0))
            images = [image.tobytes() for image in episode.support.x]
            assert len(set(images)) == 4
            seen.setdefault(split, set()).update(images)
    assert [len(images) for images in seen.values()] == [6, 6, 6]
    assert len(set.union(*seen.values())) == 18


def test_float64_draws_the_same_characters_in_float64(request):
    options = {"ways": 2, "shots": 1, "queries": 1, "size": 8, "jitter": 0.0}
    single = drawn(jmeta.glyphs(**options)).support.x
    request.getfixturevalue("x64")
    double = drawn(jmeta.glyphs(**options)).support.x
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 0}, "ways must be a whole number of at least 1; got 0"),
        ({"queries": 2.5}, "queries must be a whole number of at least 1; got 2.5"),
        ({"size": 7}, "size must be a whole number of at least 8; got 7"),
        ({"classes": 4}, r"classes must be between the ways, 5, and 2\^30; got 4"),
        ({"classes": 2**30 + 1}, r"classes must be between the ways, 5, and 2\^30; got 1073741825"),
        ({"jitter": -1.0}, "jitter must be finite and at least 0; got -1.0"),
        ({"jitter": math.nan}, "jitter must be finite and at least 0; got nan"),
        ({"split": "val"}, "split must be one of train, validation, test; got 'val'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.glyphs(**options)
