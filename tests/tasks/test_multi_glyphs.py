"""Two characters on one image: every target against the pixels."""

import math

import jax
import numpy as np
import pytest
from scipy import ndimage

import jmeta
from jmeta.tasks import _multi_glyphs

KEY = jax.random.key(0)
SMALL = {"examples": 64, "classes": 3, "size": 8}


@pytest.fixture(scope="module")
def batch():
    sampler = jmeta.multi_glyphs(examples=200)
    return jax.device_get(jax.jit(sampler.sample)(sampler.data, KEY))


@pytest.fixture(scope="module")
def sample():
    """Draws 64 small examples of three classes, whatever the data: one program."""
    return jax.jit(jmeta.multi_glyphs(**SMALL).sample)


def test_a_batch_has_four_targets_on_one_input(batch):
    assert (batch.x.shape, batch.x.dtype) == ((200, 28, 28, 1), np.float32)
    assert 0 <= batch.x.min() < batch.x.max() <= 1
    shapes = {name: (target.shape, target.dtype.kind) for name, target in batch.y.items()}
    assert shapes == {"first": ((200,), "i"), "second": ((200,), "i"), "rotation": ((200, 2), "f"), "mask": ((200, 28, 28), "i")}
    np.testing.assert_allclose(np.hypot(*batch.y["rotation"].T), 1, rtol=1e-6)
    angles = np.arctan2(*batch.y["rotation"].T[::-1])
    # Means of 200 draws: of angles uniform to pi on either side, and of ten classes.
    assert abs(angles.mean()) < 4 * math.pi / math.sqrt(3 * 200)
    pairs = np.stack([batch.y["first"], batch.y["second"]])
    assert abs(np.corrcoef(pairs)[0, 1]) < 4 / math.sqrt(200)
    for labels in pairs:
        # The statistic of chi squared with 9 degrees of freedom exceeds 27.9 with probability 1e-3.
        assert (np.square(np.bincount(labels, minlength=10) - 20) / 20).sum() < 27.9


def test_the_mask_is_the_ink(batch):
    mask = batch.y["mask"]
    np.testing.assert_array_equal(mask > 0, batch.x[..., 0] > 0.5)
    assert all(set(np.unique(one)) == {0, 1, 2} for one in mask)
    # The first stands at the upper left.
    middles = np.array([[ndimage.center_of_mass(one == number) for one in mask] for number in (1, 2)]) / 28 - 0.5
    assert (middles[0] < middles[1]).mean() > 0.95
    # They overlap: the second would have more ink without the first.
    assert (mask == 2).sum() < 0.97 * (mask == 1).sum()


def test_the_rotation_is_that_of_the_pixels():
    """Each character of the picture without rotation, turned by scipy about its middle, is that of the picture with it."""
    size, options = 96, {"examples": 24, "size": 96, "jitter": 0.0}
    samplers = [jmeta.multi_glyphs(**options, rotation=rotation) for rotation in (0.0, math.pi)]
    sample = jax.jit(samplers[0].sample)
    straight, turned = jax.device_get([sample(sampler.data, KEY) for sampler in samplers])
    np.testing.assert_array_equal(straight.y["first"], turned.y["first"])
    np.testing.assert_allclose(straight.y["rotation"], np.tile([1.0, 0.0], (24, 1)))
    # Pixel centres: pixel i is at (i + 1/2) / size.
    middle = (0.5 - _multi_glyphs.APART) * size - 0.5
    for before, after, (cosine, sine) in zip(straight.y["mask"], turned.y["mask"], turned.y["rotation"], strict=True):
        # From (row, column) of the turned picture back to those of the straight one.
        back = np.array([[cosine, -sine], [sine, cosine]])
        offset = middle - back @ [middle, middle]
        expected = ndimage.affine_transform((before == 1).astype(float), back, offset, order=1) > 0.5
        found = after == 1
        # Edges of a stroke of 8 pixels are off by half a pixel at most, and corners leave the image.
        assert (expected & found).sum() > 0.8 * (expected | found).sum()


def test_splits_share_the_alphabet_and_no_drawing(sample):
    samplers = [jmeta.multi_glyphs(**SMALL, split=split) for split in ("train", "validation", "test")]
    for sampler in samplers[1:]:
        np.testing.assert_array_equal(sampler.data["alphabet"], samplers[0].data["alphabet"])
    batches = jax.device_get([sample(sampler.data, KEY) for sampler in samplers])
    angles = np.concatenate([np.arctan2(*batch.y["rotation"].T) for batch in batches])
    assert len(set(angles)) == len({image.tobytes() for batch in batches for image in batch.x}) == 3 * 64
    other = jmeta.multi_glyphs(**SMALL, seed=1)
    assert not (other.data["alphabet"] == samplers[0].data["alphabet"]).all(axis=1).any()


def test_a_class_is_a_character(sample):
    """Without jitter and rotation, the picture follows from the two classes."""
    batch = jax.device_get(sample(jmeta.multi_glyphs(**SMALL, rotation=0.0, jitter=0.0).data, KEY))
    pictures = {}
    for image, *pair in zip(batch.x, batch.y["first"], batch.y["second"], strict=True):
        pictures.setdefault(tuple(pair), set()).add(image.round(4).tobytes())
    assert len(pictures) == 9
    assert len(set.union(*pictures.values())) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 0}, "examples must be a whole number of at least 1; got 0"),
        ({"size": 4}, "size must be a whole number of at least 8; got 4"),
        ({"rotation": 4.0}, "rotation must be between 0 and pi, in radians; got 4.0"),
        ({"rotation": math.nan}, "rotation must be between 0 and pi, in radians; got nan"),
        ({"jitter": math.inf}, "jitter must be finite and at least 0; got inf"),
        ({"split": None}, "split must be one of train, validation, test; got None"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.multi_glyphs(**options)
