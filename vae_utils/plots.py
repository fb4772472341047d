"""Figures: arrays in, figure and axes out, drawn by matplotlib; no global setting is changed.

Images are `(n, height, width, 1 or 3)` in [0, 1]. Letters are large enough for a projector, also at a page's width.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython import display
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Twenty colours that stay apart for colour-blind eyes: Paul Tol's "muted" scheme (SRON/EPS/TN/09-002) and black; then
# each as far (CIEDE2000) as can be from those before it and from white, as normal and as colour-blind eyes see them.
CLASS_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
    "#4C99E6", "#4C3926", "#73D2AC", "#6060E6", "#D20000", "#994C60", "#0000E6", "#6099AC", "#99BFBF", "#99AC73",
)  # fmt: skip
TRAIN_COLOUR, VALIDATION_COLOUR = "#0077BB", "#EE7733"
FONT_SIZE, DPI = 12, 110  # points; pixels per inch
STYLE = {"dpi": DPI, "layout": "constrained"}
TERMS = {"loss": "loss", "reconstruction_loss": "reconstruction loss", "kl_loss": "KL divergence"}


def class_colours(n: int) -> list[str]:
    """Colours of the classes 0 to n − 1, all different up to twenty; further classes repeat them."""
    return [CLASS_COLOURS[index % len(CLASS_COLOURS)] for index in range(n)]


def to_png(figure: Figure, dpi: float = DPI) -> bytes:
    """The figure as PNG bytes, with a palette of 256 colours where the eye sees no difference; the figure is closed."""
    buffer, png = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    palette = picture.quantize(256, dither=Image.Dither.NONE)
    change = np.abs(np.asarray(picture, np.int16) - np.asarray(palette.convert("RGB")))
    (palette if change.max() <= 64 and np.quantile(change, 0.999) <= 16 else picture).save(png, "PNG", optimize=True)
    return png.getvalue()


def show(figure: Figure, alt: str, handle: Any = None) -> None:
    """Display the figure in a notebook with its alternative text, and close it; the page shrinks it where it is narrow.

    `alt` says in 40 to 250 characters what is seen, else ValueError. `handle` is a display of IPython to replace.
    """
    if not isinstance(alt, str) or not 40 <= len(alt.strip()) <= 250:
        raise ValueError(f"alt must say in 40 to 250 characters what the figure shows, but is {alt!r}.")
    (handle.update if handle else display.display)(display.Image(to_png(figure), alt=alt.strip()))


def tile_images(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """Lay images out in rows of `columns`, top left to bottom right, `gap` white pixels between them, as one picture.

    `(n, height, width, channels)` -> `(rows·height + gaps, columns·width + gaps)`, with a last axis of 3 for colour.
    Missing places are white. ValueError if `images` has not four axes, or `columns` is below 1.
    """
    images = np.asarray(images)
    if images.ndim != 4 or columns < 1:
        sizes = f"{images.shape} and {columns}"
        raise ValueError(f"images must be (n, height, width, channels) and columns at least 1, but are {sizes}.")
    n, height, width, channels = images.shape
    rows = max(1, -(-n // columns))
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), dtype=np.float32)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet[..., 0] if channels == 1 else sheet


def make_figure(title: str, size: tuple, rows: int = 1, columns: int = 1, **style: Any) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches and its axes in one row `(rows·columns,)`."""
    figure = plt.figure(figsize=size, **STYLE)
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    return figure, figure.subplots(rows, columns, squeeze=False, **style).ravel()


def label_axes(ax: Axes, x: str, y: str, title: str = "") -> None:
    """Names of the axes in letters of our size."""
    ax.set_xlabel(x, fontsize=FONT_SIZE)
    ax.set_ylabel(y, fontsize=FONT_SIZE)
    ax.set_title(title, fontsize=FONT_SIZE)


def show_picture(ax: Axes, picture: np.ndarray, rows: Sequence[str] = ()) -> None:
    """One picture, `(height, width)` or `(height, width, 3)` in [0, 1], on `ax`; names at the left for its `rows`."""
    ax.imshow(picture, cmap=plt.get_cmap("gray", 32), vmin=0, vmax=1, interpolation="nearest")  # 32 greys: small files
    ax.set(xticks=[], yticks=[])
    if rows:
        ax.set_yticks((np.arange(len(rows)) + 0.5) / len(rows) * len(picture) - 0.5, rows, fontsize=FONT_SIZE)
        ax.tick_params("y", length=0)
        ax.set_anchor("W")  # else the layout forgets the names where the proportions leave space
    ax.spines[:].set_visible(False)


def image_rows(rows: Mapping[str, np.ndarray], title: str) -> tuple[Figure, np.ndarray]:
    """Rows of images below each other, to compare column by column: name -> `(n, height, width, channels)`.

    ValueError if there are no images, or rows of different length.
    """
    lengths = {name: len(images) for name, images in rows.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"All rows need the same number of images, at least 1, but there are {lengths}.")
    pictures = [tile_images(images, len(images), gap=2) for images in rows.values()]
    heights = [9.3 * picture.shape[0] / picture.shape[1] for picture in pictures]
    heights = np.maximum(heights, [0.24 * len(name.splitlines()) for name in rows])
    figure, axes = make_figure(title, (11, 0.6 + sum(heights)), len(rows), height_ratios=heights)
    for ax, name, picture in zip(axes, rows, pictures, strict=True):
        show_picture(ax, picture, [name])
    return figure, axes


def image_sheets(sheets: Mapping[str, np.ndarray], title: str, columns: int = 8) -> tuple[Figure, np.ndarray]:
    """Sheets of images side by side: name -> `(n, height, width, channels)`, `columns` in a row of a sheet."""
    if not sheets:
        raise ValueError("sheets must hold at least one name with its images, but is empty.")
    pictures = [tile_images(images, columns, gap=2) for images in sheets.values()]
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure, axes = make_figure(title, (5.2 * len(sheets), 0.6 + 5.1 * tallest), 1, len(sheets))
    for ax, name, picture in zip(axes, sheets, pictures, strict=True):
        show_picture(ax, picture)
        ax.set_title(name, fontsize=FONT_SIZE)
    return figure, axes


def training_progress(log: Any, x: np.ndarray, x_recon: np.ndarray) -> tuple[Figure, np.ndarray]:
    """Loss, reconstruction loss and KL divergence by epoch above images and their reconstructions.

    `log` is a `TrainingLog` (or anything with its fields) of at least one epoch and one or more of these terms; `x` and
    `x_recon` are `(n, height, width, channels)`.
    """
    strip = tile_images(np.concatenate([x, x_recon]), len(x), gap=2)
    heights = (3.5, 0.2 + 9.2 * strip.shape[0] / strip.shape[1])
    figure = plt.figure(figsize=(11, sum(heights)), **STYLE)
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    title = f"After epoch {log.epochs}: validation loss {log.validation['loss'][-1]:.1f} nats per image"
    top.suptitle(title, fontsize=FONT_SIZE + 2)
    terms, epochs = [term for term in TERMS if term in log.train], np.arange(1, log.epochs + 1)
    axes = top.subplots(1, len(terms), squeeze=False)[0]
    axes[0].plot(log.step_epochs, log.step_loss, color=TRAIN_COLOUR, linewidth=1, alpha=0.6)
    for ax, term in zip(axes, terms, strict=True):
        ax.plot(epochs - 0.5, log.train[term], "o-", color=TRAIN_COLOUR, label="training (mean of the epoch)")
        ax.plot(epochs, log.validation[term], "s-", color=VALIDATION_COLOUR, label="validation (at its end)")
        label_axes(ax, "epochs", "nats per image", TERMS[term])
        ax.set_xlim(0, None)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=FONT_SIZE - 2, frameon=False)
    ax = bottom.subplots()
    show_picture(ax, strip, ["image", "reconstruction"])
    return figure, np.append(axes, ax)


def scatter_classes(ax: Axes, z: np.ndarray, y: np.ndarray, size: float = 4) -> None:
    """Points of a plane on `ax`, one colour per class, each class named at its median, if need be a little beside it.

    `z` is `(n, 2)` and `y` `(n,)` numbers or names of classes; n ≥ 1, else ValueError.
    """
    z, y = np.asarray(z), np.asarray(y)
    if z.ndim != 2 or z.shape[1] != 2 or y.shape != z.shape[:1] or not len(z):
        raise ValueError(f"z must be (n, 2) with n of at least 1 and y (n,), but are {z.shape} and {y.shape}.")
    names, places = np.unique(y, return_inverse=True)
    numbers = names if y.dtype.kind in "iu" else np.arange(len(names))  # a 7 has its colour though a 3 is missing
    centres = np.array([np.median(z[places == place], axis=0) for place in range(len(names))])
    centres = spread_labels(centres, 0.07 * np.ptp(z, axis=0).max())
    outline = [patheffects.withStroke(linewidth=4, foreground="white")]
    style = {"fontsize": 22, "weight": "bold", "ha": "center", "va": "center", "zorder": 10, "path_effects": outline}
    for place, (name, number, centre) in enumerate(zip(names, numbers, centres, strict=True)):
        colour = class_colours(number + 1)[number]
        ax.scatter(*z[places == place].T, s=size, color=colour, alpha=0.5, linewidths=0)
        ax.text(*centre, str(name), color=colour, **style)
    ax.set_aspect("equal")


def spread_labels(points: np.ndarray, distance: float) -> np.ndarray:
    """`points` `(n, 2)`, moved as little as it takes for all to be `distance` apart."""
    points = points + 1e-3 * distance * np.arange(len(points))[:, np.newaxis]  # points in one place part as well
    for _ in range(200):
        offset = points[:, np.newaxis] - points
        gap = np.hypot(*np.moveaxis(offset, -1, 0)) + 1e-9
        push = np.clip(distance - gap, 0, None) / gap
        np.fill_diagonal(push, 0)
        points += 0.25 * (push[..., np.newaxis] * offset).sum(axis=1)
    return points
