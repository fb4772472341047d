"""Figures for images of any shape and any number of classes, their alternative text, and what is refused."""

import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from nbclient import NotebookClient
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from vae_utils import plots

rng = np.random.default_rng(0)
IMAGES = rng.random((7, 28, 28, 1)).astype(np.float32)
COLOUR_IMAGES = rng.random((7, 32, 32, 3)).astype(np.float32)
WIDE_IMAGES = rng.random((7, 16, 48, 1)).astype(np.float32)
ALL_SHAPES = pytest.mark.parametrize("images", [IMAGES, COLOUR_IMAGES, WIDE_IMAGES], ids=["28x28x1", "32x32x3", "wide"])
ALT = "A straight line that rises from one to two over two steps."
PAGE_WIDTH = 900  # pixels of a notebook's column
TERMS = ["loss", "reconstruction_loss", "kl_loss"]
# What light of one colour looks like to normal, deuteranopic and protanopic eyes, in linear RGB.
# Source: Machado, Oliveira and Fernandes (2009), table 1, severity 1.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_log(epochs=3, terms=TERMS):
    curves = {term: [3.0, 2.0, 1.5][:epochs] for term in terms}
    return SimpleNamespace(train=curves, validation=curves, step_epochs=[0.5, 1.0], step_loss=[4.0, 3.0], epochs=epochs)


def picture_pixels(figure, dpi=plots.DPI):
    """What is drawn, before any palette: `(height, width, 3) uint8`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


def seen_as(colours, matrix):
    """sRGB colours `(n, 3)` in CIELAB, seen by the eyes of `VISION`."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4) @ matrix.T
    linear = linear.clip(0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)[np.newaxis])[0]


def test_importing_changes_no_global_setting():
    code = (
        "import matplotlib; matplotlib.use('Agg'); before = dict(matplotlib.rcParams); import vae_utils.plots; "
        "import matplotlib.pyplot; print({k for k, v in before.items() if matplotlib.rcParams[k] != v})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("eyes", VISION)
@pytest.mark.parametrize(("n", "difference"), [(2, 11), (10, 11), (11, 11), (20, 9)])
def test_colours_of_classes_differ_for_all_eyes(n, difference, eyes):
    lab = seen_as(np.array([to_rgb(colour) for colour in plots.class_colours(n)]), VISION[eyes])
    distances = deltaE_ciede2000(lab[:, np.newaxis], lab[np.newaxis])
    assert distances[~np.eye(n, dtype=bool)].min() >= difference


def test_colours_of_classes_stay_when_classes_are_added():
    assert len(plots.class_colours(25)) == 25
    assert plots.class_colours(11)[:2] == plots.class_colours(2)
    assert plots.class_colours(0) == []


def test_tiles_stand_where_they_should():
    sheet = plots.tile_images(IMAGES, columns=3, gap=2)
    assert sheet.shape == (3 * 28 + 2 * 2, 3 * 28 + 2 * 2)
    np.testing.assert_array_equal(sheet[30:58, 30:58], IMAGES[4, ..., 0])
    assert (sheet[28:30] == 1).all() and (sheet[60:, 30:] == 1).all()  # the gap, the places without an image


def test_tiles_of_colour_and_of_nothing():
    assert plots.tile_images(COLOUR_IMAGES[:4], columns=2).shape == (64, 64, 3)
    assert plots.tile_images(IMAGES[:0], columns=2).shape == (28, 56)


@ALL_SHAPES
def test_rows_show_every_image_in_its_proportions(images):
    _, axes = plots.image_rows({"original": images, "mirrored": images[:, :, ::-1]}, "title")
    height, width = images.shape[1:3]
    for ax, shown in zip(axes, (images, images[:, :, ::-1]), strict=True):
        picture = np.asarray(ax.images[0].get_array())
        assert picture.shape[:2] == (height, 7 * width + 6 * 2)
        np.testing.assert_array_equal(picture[:, -width:], shown[-1].squeeze())
    assert [[label.get_text() for label in ax.get_yticklabels()] for ax in axes] == [["original"], ["mirrored"]]


@pytest.mark.parametrize("count", [5, 20])
def test_names_of_rows_are_whole(count):
    names = ["a name\nin three\nlong long lines", "another\nlong long name\nin three lines", "short"]
    figure, _ = plots.image_rows(dict.fromkeys(names, np.repeat(IMAGES[:1], count, axis=0)), "title")
    pixels = picture_pixels(figure)
    assert all((edge == 255).all() for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]))


def test_rows_of_grey_and_colour_images_go_together():
    grey = COLOUR_IMAGES.mean(axis=-1, keepdims=True)
    _, axes = plots.image_rows({"grey": grey, "colour": COLOUR_IMAGES, "digits": IMAGES}, "title")
    assert [np.asarray(ax.images[0].get_array()).ndim for ax in axes] == [2, 3, 2]


@ALL_SHAPES
def test_sheets_stand_side_by_side(images):
    figure, axes = plots.image_sheets({"a": images, "b": images[:4]}, "title", columns=3)
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    figure.canvas.draw()
    a, b = (ax.get_position() for ax in axes)
    assert a.x1 <= b.x0


def draw_plane(z, y):
    """The axes of a scatter plot of codes."""
    _, (ax,) = plots.make_figure("title", (7, 7.2))
    plots.scatter_classes(ax, z, y)
    return ax


@pytest.mark.parametrize("classes", [2, 10, 11])
def test_the_plane_names_every_class_in_its_own_colour(classes):
    z, y = rng.normal(size=(220, 2)), np.arange(220) % classes
    ax = draw_plane(z, y)
    assert {text.get_text() for text in ax.texts} == {str(label) for label in range(classes)}
    assert len({text.get_color() for text in ax.texts}) == classes
    assert sum(len(points.get_offsets()) for points in ax.collections) == 220


def test_a_class_keeps_its_colour_when_others_are_missing():
    z = rng.normal(size=(100, 2))
    ax = draw_plane(z, np.where(np.arange(100) % 2, 7, 3))
    assert {t.get_text(): t.get_color() for t in ax.texts} == {"3": plots.CLASS_COLOURS[3], "7": plots.CLASS_COLOURS[7]}


def test_classes_may_have_names():
    ax = draw_plane(rng.normal(size=(100, 2)), np.array(["cat", "dog"])[np.arange(100) % 2])
    assert {text.get_text() for text in ax.texts} == {"cat", "dog"}


@pytest.mark.parametrize("points", [np.zeros((11, 2)), rng.normal(size=(11, 2)) / 10])
def test_labels_are_spread_until_none_covers_another(points):
    spread = plots.spread_labels(points, 1.0)
    distances = np.linalg.norm(spread[:, np.newaxis] - spread, axis=-1)[np.triu_indices(11, 1)]
    assert distances.min() > 0.9
    np.testing.assert_allclose(spread.mean(axis=0), points.mean(axis=0), atol=0.01)  # they stay around their place


def test_labels_that_stand_apart_stay_where_they_are():
    points = 10.0 * np.array([[0, 0], [1, 0], [0, 1]])
    np.testing.assert_allclose(plots.spread_labels(points, 1.0), points, atol=0.01)


@pytest.mark.parametrize("terms", [TERMS, TERMS[:1]], ids=["a VAE", "an autoencoder"])
@pytest.mark.parametrize("epochs", [1, 3])
@ALL_SHAPES
def test_curves_and_progress_draw_the_terms_that_the_log_has(images, epochs, terms):
    log = make_log(epochs, terms)
    _, axes = plots.training_progress(log, images, images)
    *curves, strip = axes
    assert len(curves) == len(terms) and all("nats" in ax.get_ylabel() for ax in curves)
    assert np.asarray(strip.images[0].get_array()).shape[0] == 2 * images.shape[1] + 2
    validation = curves[-1].lines[-1]
    np.testing.assert_array_equal(validation.get_xdata(), np.arange(1, epochs + 1))
    np.testing.assert_array_equal(validation.get_ydata(), log.validation[terms[-1]])


def test_a_shown_figure_carries_its_alternative_text():
    cell = f"""
        import matplotlib.pyplot as plt
        from vae_utils import plots
        figure, ax = plt.subplots(figsize=(11, 3))
        ax.plot([1, 2])
        plots.show(figure, {ALT!r})
        print(plt.get_fignums())
        """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("\n".join(map(str.strip, cell.split("\n"))))])
    NotebookClient(notebook, kernel_name="python3").execute()
    picture, text = [output for output in notebook.cells[0].outputs if output.get("name") != "stderr"]
    assert picture.output_type == "display_data" and text.text == "[]\n"
    assert picture.metadata["image/png"] == {"alt": ALT}


@pytest.fixture
def displayed(monkeypatch):
    """What `plots.show` displays."""
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def test_a_shown_figure_has_110_pixels_an_inch_and_is_closed(displayed):
    figure, _ = plt.subplots(figsize=(11, 3))
    plots.show(figure, ALT)
    assert Image.open(io.BytesIO(displayed[0].data)).size == (1210, 330)
    assert not plt.fignum_exists(figure.number)


def test_a_figure_can_replace_a_display():
    shown = []
    plots.show(plt.figure(), ALT, handle=SimpleNamespace(update=shown.append))
    assert shown[0]._repr_mimebundle_()[1]["image/png"]["alt"] == ALT


@pytest.mark.parametrize("alt", ["", " " * 60, "too short", "long " * 51, None])
def test_a_figure_without_a_fitting_alternative_text_is_not_shown(alt, displayed):
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="40 to 250 characters"):
        plots.show(figure, alt)
    assert not displayed and plt.fignum_exists(figure.number)


def test_a_small_file_looks_like_the_figure():
    expected, other = (plots.image_sheets({"a": IMAGES}, "A title in letters that stay crisp")[0] for _ in range(2))
    expected, png = picture_pixels(expected), plots.to_png(other)
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    change = np.abs(shown.astype(int) - expected)
    assert change.mean() < 0.5 and change.max() <= 64
    plain = io.BytesIO()
    Image.fromarray(expected).save(plain, "PNG", optimize=True)
    assert len(png) < 0.7 * plain.tell()


def test_a_figure_of_many_colours_keeps_them():
    figure = plt.figure(figsize=(4, 4))
    figure.add_axes((0, 0, 1, 1)).imshow(rng.random((60, 60, 3)))
    expected = picture_pixels(figure)
    shown = np.asarray(Image.open(io.BytesIO(plots.to_png(figure))).convert("RGB"))
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plots.tile_images(IMAGES[0], 2), r"images must be \(n, height, width, channels\)"),
        (lambda: plots.tile_images(IMAGES, 0), "columns at least 1"),
        (lambda: plots.image_rows({"a": IMAGES, "b": IMAGES[:3]}, ""), "same number of images"),
        (lambda: plots.image_rows({}, ""), "same number of images"),
        (lambda: plots.image_rows({"a": IMAGES[:0]}, ""), "at least 1"),
        (lambda: plots.image_sheets({}, ""), "at least one name"),
        (lambda: plots.scatter_classes(None, rng.normal(size=(9, 3)), np.zeros(9)), r"z must be \(n, 2\)"),
        (lambda: plots.scatter_classes(None, rng.normal(size=(9, 2)), np.zeros(8)), r"z must be \(n, 2\)"),
        (lambda: plots.scatter_classes(None, np.zeros((0, 2)), np.zeros(0)), "at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_a_figure_is_made(draw, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        draw()
    assert "\n" not in str(error.value) and not plt.get_fignums()


@pytest.mark.parametrize("layout", ["image_rows", "image_sheets", "plane", "progress"])
def test_letters_are_whole_and_can_be_read_at_the_width_of_a_page(layout):
    figure = {
        "image_rows": lambda: plots.image_rows({"a name\nin two long lines": IMAGES, "b": IMAGES}, "title"),
        "image_sheets": lambda: plots.image_sheets({"a": IMAGES, "b": IMAGES}, "title"),
        "plane": lambda: [draw_plane(rng.normal(size=(99, 2)), np.arange(99) % 10).figure],
        "progress": lambda: plots.training_progress(make_log(), IMAGES, IMAGES),
    }[layout]()[0]
    pixels = picture_pixels(figure)
    edges = [pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]]
    assert all((edge == 255).all() for edge in edges)  # nothing is cut off
    scale = min(1, PAGE_WIDTH / pixels.shape[1]) * plots.DPI / 72
    assert scale * min(text.get_fontsize() for text in figure.findobj(plt.Text) if text.get_text().strip()) >= 11
