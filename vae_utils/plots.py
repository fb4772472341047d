"""The pictures room: arrays in, `(figure, axes)` out. Numpy and matplotlib only; nothing here predicts or saves.

Font sizes are chosen for a projector, colours for colour-blind eyes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# Ten hues that stay apart for colour-blind eyes: Paul Tol's "muted" scheme (SRON/EPS/TN/09-002) and black.
CLASS_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip
TRAIN_COLOUR, VALIDATION_COLOUR = "#0077BB", "#EE7733"
FONT_SIZE = 12
plt.rcParams["figure.dpi"] = 80  # a figure of 11 inches fills a notebook's width, and the file stays under 1 MB
_GREYS = plt.get_cmap("gray", 32)  # enough greys for the eye; pictures with all 256 are twice the size
_OUTLINE = [patheffects.withStroke(linewidth=4, foreground="white")]


def to_png(figure: Figure, dpi: int = 80) -> bytes:
    """The figure as PNG bytes; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    return buffer.getvalue()


def tile_images(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """Lay images out in rows, left to right and top to bottom, as one picture.

    Args:
        images: `(n, height, width, channels)` in [0, 1].
        columns: images per row, at least 1.
        gap: white pixels between neighbours.

    Returns:
        `(rows·height + gaps, columns·width + gaps)`, with a last axis of 3 for colour; missing places are white.

    Raises:
        ValueError: `images` has not four axes, or `columns` is below 1.
    """
    images = np.asarray(images)
    if images.ndim != 4 or columns < 1:
        raise ValueError(
            f"images must be (n, height, width, channels) and columns at least 1, but are {images.shape} and {columns}."
        )
    n, height, width, channels = images.shape
    rows = max(1, -(-n // columns))
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), dtype=np.float32)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet[..., 0] if channels == 1 else sheet


def show_picture(ax: Axes, picture: np.ndarray) -> None:
    """One grey or colour picture in [0, 1] on `ax`, without ticks."""
    ax.imshow(picture, cmap=_GREYS, vmin=0, vmax=1, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def image_rows(rows: Mapping[str, np.ndarray], title: str) -> tuple[Figure, np.ndarray]:
    """Rows of images under each other, each with its name at the left, to compare column by column.

    Args:
        rows: name -> `(n, height, width, channels)` in [0, 1], the same n in every row.
        title: what the picture shows.

    Raises:
        ValueError: rows of different length, or none.
    """
    if len({len(images) for images in rows.values()}) != 1:
        raise ValueError(f"All rows need the same number of images: { {k: len(v) for k, v in rows.items()} }.")
    columns = len(next(iter(rows.values())))
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(11, 0.6 + len(rows) * 9.3 / columns), layout="constrained", squeeze=False
    )
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        show_picture(ax, tile_images(images, columns, gap=2))
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=FONT_SIZE)
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    return figure, axes[:, 0]


def image_sheet(images: np.ndarray, title: str, columns: int = 10) -> tuple[Figure, Axes]:
    """Images in rows on one sheet.

    Args:
        images: `(n, height, width, channels)` in [0, 1].
        title: what the picture shows.
        columns: images per row.
    """
    rows = -(-len(images) // columns)
    figure, ax = plt.subplots(figsize=(columns, rows + 0.5), layout="constrained")
    show_picture(ax, tile_images(images, columns, gap=2))
    ax.set_title(title, fontsize=FONT_SIZE + 2)
    return figure, ax


def image_sheets(sheets: Mapping[str, np.ndarray], title: str, columns: int = 8) -> tuple[Figure, np.ndarray]:
    """Sheets of images side by side, each under its name.

    Args:
        sheets: name -> `(n, height, width, channels)` in [0, 1].
        title: what the picture shows.
        columns: images per row of a sheet.
    """
    figure, axes = plt.subplots(1, len(sheets), figsize=(5.2 * len(sheets), 5.6), layout="constrained", squeeze=False)
    for ax, (name, images) in zip(axes[0], sheets.items(), strict=True):
        show_picture(ax, tile_images(images, columns, gap=2))
        ax.set_title(name, fontsize=FONT_SIZE)
    figure.suptitle(title, fontsize=FONT_SIZE + 2)
    return figure, axes[0]


def loss_curves(log: Any, title: str = "", axes: Sequence[Axes] | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Loss, reconstruction loss and KL divergence, for training and validation, epoch by epoch.

    Args:
        log: a `TrainingLog` (or anything with its fields) of at least one epoch.
        title: what the picture shows.
        axes: three axes to draw on; a new figure if left out.
    """
    if axes is None:
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
        figure.suptitle(title, fontsize=FONT_SIZE + 2)
    epochs = np.arange(1, log.epochs + 1)
    names = {"loss": "loss", "reconstruction_loss": "reconstruction loss", "kl_loss": "KL divergence"}
    for ax, (key, name) in zip(axes, names.items(), strict=True):
        if key == "loss":
            ax.plot(log.step_epochs, log.step_loss, color=TRAIN_COLOUR, linewidth=1, alpha=0.6)
        ax.plot(epochs - 0.5, log.train[key], "o-", color=TRAIN_COLOUR, label="training (mean of the epoch)")
        ax.plot(epochs, log.validation[key], "s-", color=VALIDATION_COLOUR, label="validation (at its end)")
        ax.set_xlabel("epochs", fontsize=FONT_SIZE)
        ax.set_ylabel("nats per image", fontsize=FONT_SIZE)
        ax.set_title(name, fontsize=FONT_SIZE)
        ax.set_xlim(0, None)
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=FONT_SIZE - 3, frameon=False)
    return axes[0].figure, axes


def training_progress(log: Any, x: np.ndarray, x_recon: np.ndarray) -> tuple[Figure, dict[str, Axes]]:
    """What the live display shows: the loss curves above a strip of digits and their reconstructions.

    Args:
        log: a `TrainingLog` of at least one epoch.
        x: `(n, 28, 28, channels)` in [0, 1].
        x_recon: the same shape.
    """
    figure, axes = plt.subplot_mosaic(
        [["loss", "reconstruction", "kl"], ["strip", "strip", "strip"]],
        figsize=(11, 6),
        height_ratios=(3.0, 2.6),
        layout="constrained",
    )
    loss_curves(log, axes=[axes["loss"], axes["reconstruction"], axes["kl"]])
    show_picture(axes["strip"], tile_images(np.concatenate([x, x_recon]), len(x), gap=2))
    axes["strip"].set_ylabel(
        "digit\n\n\n\nits recon-\nstruction", rotation=0, ha="right", va="center", fontsize=FONT_SIZE
    )
    figure.suptitle(f"After epoch {log.epochs}: validation loss {log.validation['loss'][-1]:.1f} nats per image")
    return figure, axes


def latent_plane(z: np.ndarray, y: np.ndarray, title: str) -> tuple[Figure, Axes]:
    """Codes on a plane, one colour per class, each class named at its median.

    Args:
        z: `(n, 2)`; with more dimensions, choose two first.
        y: `(n,) int` labels in 0…9.
        title: what the picture shows.

    Raises:
        ValueError: `z` is not `(n, 2)` or `y` not as long.
    """
    z, y = np.asarray(z), np.asarray(y)
    if z.ndim != 2 or z.shape[1] != 2 or len(y) != len(z):
        raise ValueError(f"z must be (n, 2) and y as long, but are {z.shape} and {y.shape}.")
    figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
    scatter_classes(ax, z, y)
    ax.set_xlabel("z_mean[0] (prior standard deviations)", fontsize=FONT_SIZE)
    ax.set_ylabel("z_mean[1] (prior standard deviations)", fontsize=FONT_SIZE)
    ax.set_title(title, fontsize=FONT_SIZE + 2)
    return figure, ax


def scatter_classes(ax: Axes, z: np.ndarray, y: np.ndarray, size: float = 4, named: bool = True) -> None:
    """The points of `latent_plane` on given axes; names that would hide each other are moved apart."""
    labels = np.unique(y)
    names_at = moved_apart(
        np.array([np.median(z[y == label], axis=0) for label in labels]), 0.07 * np.ptp(z, axis=0).max()
    )
    for label, name_at in zip(labels, names_at, strict=True):
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        ax.scatter(*z[y == label].T, s=size, color=colour, alpha=0.5, linewidths=0)
        style = {"color": colour, "fontsize": 22, "weight": "bold", "ha": "center", "va": "center", "zorder": 10}
        if not named:
            continue
        ax.text(*name_at, str(label), path_effects=_OUTLINE, **style)
    ax.set_aspect("equal")


def moved_apart(points: np.ndarray, distance: float) -> np.ndarray:
    """`points` `(n, 2)`, moved as little as it takes for all to be `distance` apart."""
    points = points.astype(float)
    for _ in range(200):
        offset = points[:, np.newaxis] - points
        gap = np.hypot(*np.moveaxis(offset, -1, 0)) + 1e-9
        push = np.clip(distance - gap, 0, None) / gap
        np.fill_diagonal(push, 0)
        points += 0.25 * (push[..., np.newaxis] * offset).sum(axis=1)
    return points


def manifold(images: np.ndarray, quantiles: np.ndarray, z_axis: np.ndarray, title: str) -> tuple[Figure, Axes]:
    """Decoded digits where they stand on a square grid of the latent plane.

    Args:
        images: `(n·n, 28, 28, channels)` in [0, 1]; top row first, so the largest second coordinate first.
        quantiles: `(n,)` rising, the probabilities that place the grid lines.
        z_axis: `(n,)` rising, the coordinates there.
        title: what the picture shows.
    """
    n = len(z_axis)
    side = 2 * n * images.shape[1] / 100  # inches at 100 dpi: two screen pixels per image pixel stay crisp and small
    figure = plt.figure(figsize=(side + 1.2, side + 1.2), dpi=100)
    ax = figure.add_axes((1 / (side + 1.2), 0.8 / (side + 1.2), side / (side + 1.2), side / (side + 1.2)))
    show_picture(ax, tile_images(images, n))
    size = images.shape[1]
    shown = np.unique(np.linspace(0, n - 1, 7).round().astype(int))
    labels = [f"{z_axis[i]:+.2f}\n({quantiles[i]:.1%})" for i in shown]
    ax.set_xticks(shown * size + size / 2, labels, fontsize=FONT_SIZE - 1)
    ax.set_yticks((n - 1 - shown) * size + size / 2, labels, fontsize=FONT_SIZE - 1)
    ax.set_xlabel("z[0] (share of the prior below it)", fontsize=FONT_SIZE)
    ax.set_ylabel("z[1] (share of the prior below it)", fontsize=FONT_SIZE)
    ax.set_title(title, fontsize=FONT_SIZE + 2)
    return figure, ax


def bars(values: Mapping[str, float], title: str, ylabel: str) -> tuple[Figure, Axes]:
    """One bar per name with its value written on it."""
    figure, ax = plt.subplots(figsize=(1.6 + 1.6 * len(values), 4), layout="constrained")
    drawn = ax.bar(list(values), list(values.values()), color=TRAIN_COLOUR, width=0.6)
    ax.bar_label(drawn, fmt="%.2f", fontsize=FONT_SIZE, padding=2)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE)
    ax.set_title(title, fontsize=FONT_SIZE + 2)
    ax.tick_params(labelsize=FONT_SIZE)
    ax.margins(y=0.15)
    return figure, ax


def architecture(columns: Mapping[str, Sequence[tuple[str, str, str]]], title: str) -> tuple[Figure, Axes]:
    """A drawing of a network: one column of boxes per part, arrows from box to box.

    Args:
        columns: name of the part -> its layers in order, each `(what it is, output shape, parameters)` as text.
        title: what the picture shows.
    """
    depth = max(len(boxes) for boxes in columns.values())
    figure, ax = plt.subplots(figsize=(5.4 * len(columns), 1.2 + 0.82 * depth), layout="constrained")
    width, height, pitch = 4.6, 0.62, 1.0
    for column, (name, boxes) in enumerate(columns.items()):
        left, colour = column * 5.4, CLASS_COLOURS[1:8:2][column % 4]
        ax.text(left + width / 2, pitch, name, fontsize=17, weight="bold", ha="center", va="center")
        for row, (what, shape, parameters) in enumerate(boxes):
            y = -row * pitch
            face = (*to_rgb(colour), 0.25)
            style = {"boxstyle": "round,pad=0.08", "facecolor": face, "edgecolor": colour, "linewidth": 2}
            ax.add_patch(FancyBboxPatch((left, y - height / 2), width, height, **style))
            ax.text(left + 0.1, y + 0.15, what, fontsize=13.5, weight="bold", ha="left", va="center")
            ax.text(left + 0.1, y - 0.18, shape, fontsize=12.5, ha="left", va="center", family="monospace")
            ax.text(left + width - 0.1, y - 0.18, parameters, fontsize=11, ha="right", va="center", color="#444444")
            if row:
                middle, tip = left + width / 2, y + height / 2 + 0.08
                arrow = {"arrowstyle": "-|>", "mutation_scale": 14, "color": "#444444", "shrinkA": 0, "shrinkB": 0}
                ax.add_patch(FancyArrowPatch((middle, tip + pitch - height - 0.16), (middle, tip), **arrow))
    ax.set_xlim(-0.3, 5.4 * len(columns) - 0.5)
    ax.set_ylim(-(depth - 1) * pitch - 0.6, pitch + 0.4)
    ax.axis("off")
    ax.set_title(title, fontsize=15)
    return figure, ax
