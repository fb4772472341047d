"""Pictures: arrays in, figure and axes out; the tiling is exact; nothing is shown or saved on the way."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vae_utils import models, plots
from vae_utils.training import TrainingLog

rng = np.random.default_rng(0)
IMAGES = rng.random((7, 28, 28, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def a_log(epochs=3):
    curve = {
        "loss": [3.0, 2.0, 1.5][:epochs],
        "reconstruction_loss": [2.0, 1.0, 0.5][:epochs],
        "kl_loss": [1.0] * epochs,
    }
    seconds = [1.0] * epochs
    return TrainingLog(curve, curve, step_epochs=[0.5, 1.0], step_loss=[4.0, 3.0], epoch_seconds=seconds)


def test_tiles_stand_where_they_should():
    sheet = plots.tile_images(IMAGES, columns=3, gap=2)
    assert sheet.shape == (3 * 28 + 2 * 2, 3 * 28 + 2 * 2)
    np.testing.assert_array_equal(sheet[30:58, 30:58], IMAGES[4, ..., 0])
    assert (sheet[28:30] == 1).all() and (sheet[60:, 30:] == 1).all()  # the gap, the places without an image


def test_tiles_of_colour_and_of_nothing():
    assert plots.tile_images(rng.random((4, 28, 28, 3)), columns=2).shape == (56, 56, 3)
    assert plots.tile_images(IMAGES[:0], columns=2).shape == (28, 56)


@pytest.mark.parametrize(("images", "columns"), [(IMAGES[0], 2), (IMAGES, 0)])
def test_tiles_refuse(images, columns):
    with pytest.raises(ValueError, match="images must be"):
        plots.tile_images(images, columns)


def test_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same number"):
        plots.image_rows({"a": IMAGES, "b": IMAGES[:3]}, "title")


def test_latent_plane_names_every_class():
    z, y = rng.normal(size=(100, 2)), np.arange(100) % 10
    _, ax = plots.latent_plane(z, y, "where?")
    assert {text.get_text() for text in ax.texts} == {str(label) for label in range(10)}
    assert "standard deviations" in ax.get_xlabel() and ax.get_title() == "where?"
    with pytest.raises(ValueError, match=r"z must be \(n, 2\)"):
        plots.latent_plane(rng.normal(size=(100, 3)), y, "")


def test_manifold_has_the_largest_second_coordinate_on_top():
    z_axis = np.array([-1.0, 0.0, 1.0])
    images = np.zeros((9, 28, 28, 1), np.float32)
    images[:3] = 1  # the top row
    _, ax = plots.manifold(images, np.array([0.2, 0.5, 0.8]), z_axis, "grid")
    picture = ax.images[0].get_array()
    assert (picture[:28] == 1).all() and (picture[28:] == 0).all()
    top_tick = ax.get_yticks().argmin()
    assert ax.get_yticklabels()[top_tick].get_text().startswith("+1.00")


@pytest.mark.parametrize("epochs", [1, 3])
def test_curves_and_progress_draw_any_log(epochs):
    log = a_log(epochs)
    _, axes = plots.loss_curves(log, "title")
    assert all("nats" in ax.get_ylabel() for ax in axes)
    figure, _ = plots.training_progress(log, IMAGES, IMAGES)
    png = plots.to_png(figure)
    assert png.startswith(b"\x89PNG") and not plt.fignum_exists(figure.number)


def test_the_architecture_names_every_layer(vae):
    _, ax = plots.architecture({"Encoder": models.layer_table(vae.encoder)}, "title")
    words = {text.get_text() for text in ax.texts}
    assert {"Encoder", "z_mean: Dense  |  z_log_var: Dense", "4 × 4 × 64"} <= words


def test_helpers_neither_show_nor_save(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a plot helper showed or saved")

    monkeypatch.setattr(plt, "show", forbidden)
    monkeypatch.setattr(plt.Figure, "savefig", forbidden)
    for figure, axes in (
        plots.image_rows({"a": IMAGES}, "title"),
        plots.image_sheet(IMAGES, "title"),
        plots.image_sheets({"a": IMAGES, "b": IMAGES}, "title"),
        plots.bars({"a": 1.0}, "title", "nats"),
    ):
        assert isinstance(figure, plt.Figure) and axes is not None
