"""Two domains of the same characters: what a shift does to paper, ink and pen, and what it leaves alone."""

import math

import jax
import numpy as np
import pytest

import jmeta

KEY = jax.random.key(0)
SMALL = {"examples": 64, "classes": 3, "size": 8}


@pytest.fixture(scope="module")
def batch():
    """Large drawings in their true form, of one character."""
    sampler = jmeta.glyph_shift(examples=200, classes=1, size=64, jitter=0.0, shift=0.8, split="test")
    return jax.device_get(jax.jit(sampler.sample)(sampler.data, KEY))


@pytest.fixture(scope="module")
def sample():
    """Draws 64 small examples of three classes of each domain, with all labels, whatever the data: one program."""
    return jax.jit(jmeta.glyph_shift(**SMALL, split="test").sample)


def test_labels_of_the_target_are_for_evaluation_alone():
    for split in ("train", "validation", "test"):
        sampler = jmeta.glyph_shift(**SMALL, split=split)
        found = jax.eval_shape(sampler.sample, sampler.data, KEY)
        shapes = {name: (domain.x.shape, getattr(domain.y, "shape", None)) for name, domain in found.items()}
        labels = None if split == "train" else (64,)
        assert shapes == {"source": ((64, 8, 8, 1), (64,)), "target": ((64, 8, 8, 1), labels)}


def test_the_target_has_less_contrast_on_dark_and_grainy_paper(batch):
    source, target = (batch[name].x[..., 0] for name in ("source", "target"))
    np.testing.assert_array_equal(source, source[:1].repeat(200, axis=0))
    paper, darkest = source[0] < 1e-6, source[0] > 0.9
    assert paper.sum() > 500
    assert darkest.any()
    # Near the thin strokes the thicker pen leaves ink too: what is paper to both is most of it, at the median.
    mean = target.mean(axis=0)
    # 0.3 s, s = 0.8, to five standard errors of 200 draws of 0.2 s.
    error = 5 * 0.16 / math.sqrt(200)
    assert abs(np.median(mean[paper]) - 0.24) < error
    assert abs(np.median(target.std(axis=0)) - 0.16) < error
    # Half the contrast times the shift is gone: where the source is as dark as lines are, 0.95, so is the target.
    expected = 0.24 + 0.6 * source[0][darkest]
    assert abs(np.median(mean[darkest] - expected)) < error


def test_the_pen_of_the_target_is_thicker(batch):
    """An amount of ink is length times width: 1 + 0.6 s times as much, but where strokes lie over one another."""
    source, target = (batch[name].x[..., 0].mean(axis=0) for name in ("source", "target"))
    ratio = ((target - 0.24) / 0.6).sum() / source.sum()
    assert 1.35 < ratio < 1.5


def test_without_a_shift_the_domains_are_alike(sample):
    """Without jitter a picture follows from its class; from the same class the same in both domains."""
    pictures = {}
    found = jax.device_get(sample(jmeta.glyph_shift(**SMALL, shift=0.0, jitter=0.0, split="test").data, KEY))
    for domain in found.values():
        for image, label in zip(domain.x, domain.y, strict=True):
            pictures.setdefault(label, set()).add(image.round(4).tobytes())
    assert sorted(pictures) == [0, 1, 2]
    assert all(len(images) == 1 for images in pictures.values())
    assert len(set.union(*pictures.values())) == 3


def test_domains_and_splits_share_the_alphabet_and_no_drawing(sample):
    samplers = [jmeta.glyph_shift(**SMALL, shift=0.0, split=split) for split in ("train", "validation", "test")]
    for sampler in samplers[1:]:
        np.testing.assert_array_equal(sampler.data["alphabet"], samplers[0].data["alphabet"])
    found = jax.device_get([sample(sampler.data, KEY) for sampler in samplers])
    assert len({image.tobytes() for domains in found for domain in domains.values() for image in domain.x}) == 6 * 64
    assert not (found[0]["source"].y == found[0]["target"].y).all()
    other = jmeta.glyph_shift(**SMALL, seed=1)
    assert not (other.data["alphabet"] == samplers[0].data["alphabet"]).all(axis=1).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 0}, "examples must be a whole number of at least 1; got 0"),
        ({"size": 4}, "size must be a whole number of at least 8; got 4"),
        ({"shift": 2.0}, "shift must be at least 0 and below 2; got 2.0"),
        ({"shift": math.nan}, "shift must be at least 0 and below 2; got nan"),
        ({"jitter": -1.0}, "jitter must be finite and at least 0; got -1.0"),
        ({"split": "dev"}, "split must be one of train, validation, test; got 'dev'"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jmeta.glyph_shift(**options)
