"""Noise and stamps: their strength, their range and their randomness, for images of any shape; grey from colour."""

import numpy as np
import pytest
from PIL import Image

from vae_utils import data
from vae_utils.vae import check_images

NOISES = {"gaussian": data.add_gaussian_noise, "salt and pepper": data.add_salt_and_pepper}
SHAPES = [(28, 28, 1), (32, 32, 1), (32, 32, 3), (20, 44, 3)]

every_noise = pytest.mark.parametrize("add_noise", NOISES.values(), ids=NOISES)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@every_noise
@pytest.mark.parametrize("shape", SHAPES)
def test_noise_keeps_the_image_contract_and_the_input(add_noise, shape):
    x = generator(7).random((5, *shape), dtype=np.float32)
    before = x.copy()
    noisy = add_noise(x, 0.5, generator())
    assert check_images(noisy, shape).shape == x.shape and noisy.dtype == np.float32
    assert np.array_equal(x, before)
    assert np.array_equal(noisy, add_noise(x, 0.5, generator()))
    assert not np.array_equal(noisy, add_noise(x, 0.5, generator(1)))
    assert len({image.tobytes() for image in noisy - x}) == 5  # every image has noise of its own
    assert add_noise(x[:0], 0.5, generator()).shape == (0, *shape)


@every_noise
def test_no_noise_gives_an_equal_copy(add_noise):
    x = generator(7).random((5, 28, 28, 1), dtype=np.float32)
    noisy = add_noise(x, 0, generator())
    assert np.array_equal(noisy, x) and not np.shares_memory(noisy, x)


def test_gaussian_noise_has_the_published_strength():
    _, (x_test, _) = data.load_mnist()
    noisy = data.add_gaussian_noise(x_test, 0.5, generator())
    assert noisy.min() == 0 and noisy.max() == 1
    assert np.mean((noisy - x_test) ** 2) == pytest.approx(0.1156, abs=5e-4)


def test_gaussian_noise_is_normal_and_differs_between_channels():
    grey = np.full((200, 32, 32, 3), 0.5, np.float32)
    noise = data.add_gaussian_noise(grey, 0.1, generator()) - grey
    assert noise.mean() == pytest.approx(0, abs=1e-3) and noise.std() == pytest.approx(0.1, abs=1e-3)
    assert np.mean(np.abs(noise) < 0.1) == pytest.approx(0.6827, abs=3e-3)  # within one standard deviation
    assert np.corrcoef(noise.reshape(-1, 3).T)[0, 1] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_salt_and_pepper_replaces_the_share_it_says(channels):
    grey = np.full((200, 28, 28, channels), 0.5, np.float32)
    noisy = data.add_salt_and_pepper(grey, 0.3, generator())
    assert np.mean(noisy == 0) == pytest.approx(0.15, abs=0.01)
    assert np.mean(noisy == 1) == pytest.approx(0.15, abs=0.01)
    assert np.mean(noisy == 0.5) == pytest.approx(0.7, abs=0.01)
    assert np.all(noisy == noisy[..., :1])  # a replaced pixel is black or white, never coloured
    assert np.all(data.add_salt_and_pepper(grey, 1, generator()) != 0.5)


@every_noise
@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf"), "0.5", None, np.array([0.1, 0.2])], ids=str)
def test_noise_refuses_impossible_levels(add_noise, level):
    with pytest.raises(ValueError, match="noise level must be a number"):
        add_noise(np.zeros((2, 28, 28, 1)), level, generator())


def test_a_share_of_pixels_is_at_most_one():
    with pytest.raises(ValueError, match=r"in \[0, 1\], but is 1\.5"):
        data.add_salt_and_pepper(np.zeros((2, 28, 28, 1)), 1.5, generator())


@every_noise
def test_noise_refuses_other_input(add_noise):
    x = np.zeros((2, 28, 28, 1), np.float32)
    for wrong, sentence in ((x[..., 0], "shape"), (x + 255, "divide by 255"), (x * np.nan, "NaN")):
        with pytest.raises(ValueError, match=sentence):
            add_noise(wrong, 0.5, generator())
    with pytest.raises(ValueError, match=r"np\.random\.default_rng\(0\), but is 3"):
        add_noise(x, 0.5, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stamp_is_a_mixture_of_the_image_and_one_colour(shape):
    x = generator(7).random((6, *shape), dtype=np.float32)
    before = x.copy()
    stamped, opacity = data.stamp_words(x, ["PROOF", "DRAFT"], generator())
    assert check_images(stamped, shape).shape == x.shape and opacity.shape == (*x.shape[:3], 1)
    assert np.array_equal(x, before) and opacity.min() >= 0 and opacity.max() <= 0.8
    assert np.array_equal(np.where(opacity == 0, x, 0), np.where(opacity == 0, stamped, 0))
    for one, result, share in zip(x, stamped, opacity, strict=True):
        strong = share[..., 0] > 0.3
        assert 0.02 < np.mean(share > 0) < 0.6 and strong.any()
        colour = ((result - (1 - share) * one) / np.maximum(share, 0.3))[strong]
        np.testing.assert_allclose(colour, np.broadcast_to(colour[:1], colour.shape), atol=1e-5)


def test_stamps_differ_and_repeat_with_the_seed():
    x = np.full((8, 32, 32, 3), 0.5, np.float32)
    stamped, opacity = data.stamp_words(x, data.STAMP_WORDS, generator())
    assert len({image.tobytes() for image in opacity}) == 8
    again, _ = data.stamp_words(x, data.STAMP_WORDS, generator())
    assert np.array_equal(stamped, again)
    assert not np.array_equal(stamped, data.stamp_words(x, data.STAMP_WORDS, generator(1))[0])
    assert not set(data.STAMP_WORDS) & set(data.HELD_OUT_WORDS)
    assert data.stamp_words(x[:0], ["DRAFT"], generator())[0].shape == (0, 32, 32, 3)


@pytest.mark.parametrize("words", ["DRAFT", [], [""], [3], ()], ids=str)
def test_a_stamp_needs_words(words):
    with pytest.raises(ValueError, match="words must hold at least one text"):
        data.stamp_words(np.zeros((2, 32, 32, 3)), words, generator())


def test_a_stamp_refuses_other_input():
    x = np.zeros((2, 32, 32, 3), np.float32)
    for wrong, sentence in ((x[..., 0], "shape"), (x + 255, "divide by 255"), (x * np.nan, "NaN")):
        with pytest.raises(ValueError, match=sentence):
            data.stamp_words(wrong, ["DRAFT"], generator())
    with pytest.raises(ValueError, match=r"np\.random\.default_rng\(0\), but is 3"):
        data.stamp_words(x, ["DRAFT"], 3)


def test_grey_is_the_luma_that_pillow_computes():
    (x, _), _ = data.load_emoji()
    for image, grey in zip(x[:5], data.to_grey(x[:5]), strict=True):
        expected = np.asarray(Image.fromarray(np.round(255 * image).astype(np.uint8)).convert("L"))
        assert np.abs(255 * grey[..., 0] - expected).max() <= 1
    assert data.to_grey(np.ones((1, 4, 4, 3))).max() <= 1
    with pytest.raises(ValueError, match="x must have the shape"):
        data.to_grey(np.zeros((2, 4, 4, 1)))


def test_variants_of_one_emoji_have_one_number():
    numbers = data.number_families(np.array(["ear", "ear-dark", "ear-medium-light", "man-running-facing-right"]))
    assert numbers[0] == numbers[1] == numbers[2] and numbers[3] == data.number_families(["woman-running-light"])[0]
    (_, names), (_, names_test) = data.load_emoji()
    assert set(data.number_families(names_test)) == {1} and 1 not in data.number_families(names)
    assert data.number_families([]).shape == (0,)
