"""The pictures in Images/ are complete, built the same way twice, and true to their names."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from vae_utils import figures, pretrained


def test_every_picture_is_committed():
    for name, _ in figures.all_files():
        path = figures.IMAGES_DIR / name
        assert path.is_file(), f"{name} is missing: python3 run.py images"
        assert path.stat().st_size < 3_000_000


def test_the_same_digits_in_class_order():
    x = figures.shown_digits()
    assert x.shape == (20, 28, 28, 1)
    np.testing.assert_array_equal(x, figures.shown_digits())


@pytest.mark.parametrize("index", range(5))
def test_pictures_of_a_size_repeat(index):
    builds = [list(figures.size_files(2))[index] for _ in range(2)]
    assert builds[0][0] == builds[1][0]
    assert builds[0][1]() == builds[1][1]()


def test_the_architecture_is_a_thousand_pixels_high():
    picture = Image.open(io.BytesIO(figures.architecture(pretrained.load_pretrained(2))))
    assert abs(picture.height - 1000) < 15


def test_a_gif_loops_and_keeps_its_frames():
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 100, 200)]
    gif = Image.open(io.BytesIO(figures.to_gif(frames)))
    assert gif.n_frames == 3 and gif.info["loop"] == 0 and gif.size == (30, 20)


def test_a_closed_path_passes_its_points_and_closes():
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    path = figures.closed_path(points, 40)
    np.testing.assert_allclose(path[::10], points, atol=1e-9)
    steps = np.linalg.norm(np.diff(np.vstack([path, path[:1]]), axis=0), axis=1)
    assert steps.max() < 3 * steps.min()


def test_the_numbers_in_the_readme_are_fresh():
    text = figures.README.read_text(encoding="utf-8")
    assert figures.with_numbers(text) == text, "stale: python3 run.py images"
    with pytest.raises(ValueError, match="lacks the markers"):
        figures.with_numbers("no markers")


def test_the_recorded_speed_keeps_the_promise():
    record = json.loads(figures.SPEED_RECORD.read_text(encoding="utf-8"))
    assert record["our_test_loss"] <= record["target_loss"] and record["ratio"] >= 40
    assert record["fit_over_bare_step"] <= 1.2
