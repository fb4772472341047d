"""The corruptions of the data room: noise, watermark and colour, and notebook 08's versions of the last two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vae_utils import data

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "08_applications.ipynb"
NOISES = {"gaussian": data.add_gaussian_noise, "salt and pepper": data.add_salt_and_pepper}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return data.load_mnist(limit=100)[1]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_noise_keeps_the_image_contract_and_the_input(noise, digits):
    x, _ = digits
    before = x.copy()
    noisy = noise(x, 0.5, generator())
    data.check_images(noisy)
    assert noisy.shape == x.shape and noisy.dtype == np.float32
    assert np.array_equal(x, before)
    assert np.array_equal(noisy, noise(x, 0.5, generator()))
    assert not np.array_equal(noisy, noise(x, 0.5, generator(1)))
    assert np.array_equal(noise(x, 0.0, generator()), x)
    assert noise(x[:0], 0.5, generator()).shape == (0, 28, 28, 1)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
@pytest.mark.parametrize("level", [-0.1, float("nan")])
def test_noise_refuses_impossible_levels(noise, level, digits):
    with pytest.raises(ValueError, match="must"):
        noise(digits[0], level, generator())


# --- watermark ---------------------------------------------------------------------------------------


def test_watermark_blends_white_where_the_stamp_is_and_nothing_elsewhere(digits):
    x, _ = digits
    before = x.copy()
    x_marked, stamp = data.add_watermark(x, generator())
    data.check_images(x_marked, "x_marked")
    data.check_images(stamp, "stamp")
    assert x_marked.dtype == stamp.dtype == np.float32
    assert np.array_equal(x, before)
    assert np.array_equal(x_marked[stamp == 0], x[stamp == 0])
    assert np.all(x_marked >= x)
    np.testing.assert_allclose(x_marked, x + stamp * (1 - x), atol=1e-6)


def test_watermark_obeys_its_size_and_opacity(digits):
    x = np.zeros((500, 28, 28, 1), np.float32)
    _, stamp = data.add_watermark(x, generator(), size=(12, 20), opacity=(0.4, 0.8))
    peak = stamp.max(axis=(1, 2, 3))
    assert 0.39 < peak.min() < 0.45 and 0.75 < peak.max() <= 0.8
    for axis in (1, 2):
        covered = stamp.max(axis=(3, 3 - axis)) > 0
        extent = 28 - covered[:, ::-1].argmax(axis=1) - covered.argmax(axis=1)
        assert 11 <= extent.min() <= 14 and 18 <= extent.max() <= 22
    _, largest = data.add_watermark(x[:1], generator(), size=(28, 28), opacity=(1, 1))
    assert largest.max() == 1
    _, invisible = data.add_watermark(x[:3], generator(), opacity=(0, 0))
    assert not invisible.any()


def test_watermark_covers_colour_images_with_one_stamp(digits):
    x, y = digits
    colour = data.colour_digits(x, y, generator())
    x_marked, stamp = data.add_watermark(colour, generator())
    assert x_marked.shape == (len(x), 28, 28, 3) and stamp.shape == (len(x), 28, 28, 1)


def test_watermark_depends_on_the_generator_only(digits):
    x, _ = digits
    first, again, other = (data.add_watermark(x, generator(seed))[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len({part.tobytes() for part in first}) == len(x)  # every image has its own stamp
    assert data.add_watermark(x[:0], generator())[0].shape == (0, 28, 28, 1)
    assert data.add_watermark(x[:1], generator())[0].shape == (1, 28, 28, 1)


@pytest.mark.parametrize(
    "wrong", [{"size": (0, 5)}, {"size": (10, 29)}, {"size": (9, 8)}, {"opacity": (0.5, 1.1)}, {"opacity": (0.6, 0.5)},
              {"opacity": (float("nan"), 1)}],
)  # fmt: skip
def test_watermark_refuses_what_does_not_fit(wrong, digits):
    with pytest.raises(ValueError, match="must be two rising"):
        data.add_watermark(digits[0], generator(), **wrong)


# --- colour ------------------------------------------------------------------------------------------


def test_the_class_decides_the_colour(digits):
    x, y = digits
    colour = data.colour_digits(x, y, generator())
    data.check_images(colour, "colour", channels=3)
    assert colour.dtype == np.float32
    for label in range(10):
        expected = x[y == label] * data.DIGIT_COLOURS[label]
        np.testing.assert_array_equal(colour[y == label], expected)


def test_the_ten_colours_and_their_complements_stay_apart():
    both = np.concatenate([data.DIGIT_COLOURS, 1 - data.DIGIT_COLOURS[::2]])
    distance = np.linalg.norm(both[:, np.newaxis] - both, axis=-1)
    assert distance[~np.eye(len(both), dtype=bool)].min() > 0.3
    assert both.min() >= 0 and both.max() <= 1


def test_a_coin_decides_between_a_colour_and_its_complement():
    x, y = np.ones((4000, 28, 28, 1), np.float32), np.tile([4, 5], 2000)
    colour = data.colour_digits(x, y, generator(), coin_classes=(4,))[:, 0, 0]
    own = np.isclose(colour, data.DIGIT_COLOURS[y]).all(axis=1)
    complement = np.isclose(colour, 1 - data.DIGIT_COLOURS[y]).all(axis=1)
    assert np.all(own | complement) and np.all(own[y == 5])
    assert 0.45 < own[y == 4].mean() < 0.55
    np.testing.assert_allclose((data.DIGIT_COLOURS + (1 - data.DIGIT_COLOURS)) / 2, 0.5)


def test_colour_refuses_what_does_not_fit(digits):
    x, y = digits
    assert data.colour_digits(x[:0], y[:0], generator()).shape == (0, 28, 28, 3)
    for wrong_x, wrong_y in ((x, y[:-1]), (x[..., 0], y), (np.repeat(x, 3, axis=-1), y), (x, y + 1), (x, y - 1)):
        with pytest.raises(ValueError, match="must"):
            data.colour_digits(wrong_x, wrong_y, generator())


# --- the notebook that explains them -----------------------------------------------------------------


def notebook_function(name: str):
    """The function of that name as notebook 08 writes it out: the cell tagged with it, run on its own."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (source,) = ("".join(cell["source"]) for cell in cells if name in cell["metadata"].get("tags", ()))
    scope = {"np": np, "data": data}
    exec(source, scope)
    return scope[name]


def test_notebook_and_package_stamp_the_same(digits):
    x, _ = digits
    expected = data.add_watermark(x, generator(3))
    for ours, theirs in zip(notebook_function("add_watermark")(x, generator(3)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_notebook_and_package_colour_the_same(digits):
    x, y = digits
    ours = notebook_function("colour_digits")(x, y, generator(3), (0, 2))
    np.testing.assert_allclose(ours, data.colour_digits(x, y, generator(3), (0, 2)), atol=1e-6)
