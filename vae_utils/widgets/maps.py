"""What the map, the walk and the drawing pad share: a map of codes on two dimensions, drawn as palette indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vae_utils.plots import class_colours, spread_labels, tile_images
from vae_utils.vae import check_images
from vae_utils.widgets.pictures import png_bytes

Decode = Callable[[np.ndarray], np.ndarray]

NEIGHBOURS = 8
MAP_SIZE, MAP_REACH, MAP_CELLS = 336, 3.5, 7  # pixels; standard deviations from the middle to the edge; cells a side
CLASSES = 100  # as many labels as the map's palette of 256 colours can hold twice
CLASS_COLOURS = class_colours(CLASSES)
_RGB = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in CLASS_COLOURS], dtype=np.uint8)
_WHITE, _GRID, TEXT, LINEAR, SPHERICAL, _DOTS, _NAMES = 0, 1, 2, 3, 4, 10, 10 + CLASSES  # entries of the palette
PALETTE = np.zeros((10 + 2 * CLASSES, 3), np.uint8)
PALETTE[[_WHITE, _GRID, TEXT, LINEAR, SPHERICAL]] = [
    (255, 255, 255), (221, 221, 221), (60, 60, 60), (0, 119, 187), (238, 119, 51),
]  # fmt: skip
PALETTE[_DOTS:_NAMES] = 255 - (255 - _RGB.astype(int)) * 55 // 100  # paler, so that names and marks stand out
PALETTE[_NAMES:] = _RGB


def check_codes(z_mean: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes `(n, latent_dim)`, labels `(n,)` and images `(n, height, width, 1 or 3)` that belong together, n ≥ 1."""
    z_mean, y = np.asarray(z_mean, np.float32), np.asarray(y)
    if z_mean.ndim != 2 or not len(z_mean) or y.shape != z_mean.shape[:1] or np.shape(x)[:1] != y.shape:
        raise ValueError(
            "z_mean must be (n, latent_dim), y (n,) and x (n, height, width, channels) of the same n ≥ 1 images, "
            f"but are {z_mean.shape}, {y.shape} and {np.shape(x)}."
        )
    if not np.isfinite(z_mean).all():
        raise ValueError("z_mean holds NaN or infinite numbers.")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= CLASSES:
        raise ValueError(f"y must hold whole numbers from 0 to {CLASSES - 1}, the classes.")
    return z_mean, y, check_images(x, None, "x")


def check_dims(dims: Sequence[int], latent_dim: int) -> tuple[int, ...]:
    """Two different dimensions, or the only one there is."""
    if latent_dim == 1:
        return (0,)
    dims = tuple(int(dim) for dim in dims)
    if len(dims) != 2 or dims[0] == dims[1] or not all(0 <= dim < latent_dim for dim in dims):
        raise ValueError(f"dims must be two different dimensions of 0…{latent_dim - 1}, but is {dims}.")
    return dims


def describe_map(dims: Sequence[int], points: np.ndarray, y: np.ndarray, reach: float = MAP_REACH) -> str:
    """The caption of a map."""
    height = f"z[{dims[1]}]" if len(dims) == 2 else f"the class, {y.min()} to {y.max()}"
    outside = int((np.abs(points) > reach).any(axis=1).sum())
    beyond = f"; {outside} images lie beyond the map" if outside else ""
    return f"Horizontal: z[{dims[0]}], vertical: {height}, in standard deviations of the prior{beyond}."


def describe_neighbours(y: np.ndarray) -> str:
    """The caption of the nearest codes' images, with their labels."""
    return f"nearest test images: {' '.join(map(str, y))}"


def tiles_png(images: np.ndarray, columns: int = 4) -> bytes:
    """Images `(n, height, width, 1 or 3)` in [0, 1] in rows of `columns`, as one PNG."""
    return png_bytes(tile_images(images, columns, gap=2))


def place_points(z_mean: np.ndarray, y: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Where the codes stand on the map: `(n, 2)`.

    With one dimension only, the height is the class, 0 at the bottom, spread a little for the eye.
    """
    if len(dims) == 2:
        return np.asarray(z_mean)[:, list(dims)]
    classes = np.max(y) + 1
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(y))
    return np.stack([np.asarray(z_mean)[:, dims[0]], 6.5 / classes * (y - (classes - 1) / 2 + spread)], axis=1)


def choose_reach(points: np.ndarray) -> float:
    """How far a map must reach to show all but the outermost half per cent of points, in steps of a half."""
    return max(MAP_REACH, float(np.ceil(2 * np.quantile(np.abs(points).max(axis=1), 0.995)) / 2))


def to_pixels(points: np.ndarray, reach: float = MAP_REACH) -> np.ndarray:
    """Rows and columns `(n, 2) int` of the map for points `(n, 2)`, which may lie beyond the map."""
    points = np.asarray(points, np.float64)
    centre, unit = MAP_SIZE / 2, MAP_SIZE / (2 * reach)
    return np.floor(np.stack([centre - unit * points[:, 1], centre + unit * points[:, 0]], axis=1)).astype(int)


def draw_map(points: np.ndarray, y: np.ndarray, reach: float = MAP_REACH, names: bool = True) -> np.ndarray:
    """The map of a test set: a dot per code in the pale colour of its class, lines at whole numbers.

    Args:
        points: `(n, 2)`; what lies beyond the map is left out.
        y: `(n,) int` labels.
        reach: from the middle to the edge.
        names: write every class at its median.

    Returns:
        `(MAP_SIZE, MAP_SIZE) uint8`, indices into `PALETTE`.
    """
    sheet = np.full((MAP_SIZE, MAP_SIZE), _WHITE, np.uint8)
    ticks = np.arange(-np.ceil(reach) + 1, np.ceil(reach))
    rows, columns = to_pixels(np.stack([ticks, ticks], axis=1), reach).T
    sheet[rows], sheet[:, columns] = _GRID, _GRID
    y = np.asarray(y)
    pixels = to_pixels(points, reach)
    inside = ((pixels >= 0) & (pixels < MAP_SIZE - 1)).all(axis=1)
    row, column = pixels[inside].T
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        sheet[row + down, column + right] = _DOTS + y[inside]
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    small, large = ImageFont.load_default(12), ImageFont.load_default(24)
    for tick, row, column in zip(ticks, rows, columns, strict=True):
        draw.text((column + 2, MAP_SIZE - 2), f"{tick:+.0f}", TEXT, small, anchor="ls")
        draw.text((2, row - 2), f"{tick:+.0f}", TEXT, small, anchor="ls")
    labels = np.unique(y) if names else np.empty(0, int)
    medians = np.array([np.median(points[y == label], axis=0) for label in labels]).reshape(-1, 2)
    for label, (row, column) in zip(labels, to_pixels(spread_labels(medians, 0.16 * reach), reach), strict=True):
        for width, colour in ((4, _WHITE), (1, int(_NAMES + label))):
            style = {"anchor": "mm", "stroke_width": width, "stroke_fill": colour}
            draw.text((column, row), str(label), colour, large, **style)
    return np.array(image)


def draw_marks(
    sheet: np.ndarray, points: np.ndarray, colour: int, radius: float, reach: float = MAP_REACH
) -> np.ndarray:
    """A copy of the map with a disc at every point; points beyond the map stand at its edge.

    Args:
        sheet: `(MAP_SIZE, MAP_SIZE) uint8`.
        points: `(n, 2)`.
        colour: index into `PALETTE`.
        radius: of the discs, in pixels; from 4 on they have a white rim.
        reach: the map's, from the middle to the edge.
    """
    sheet = sheet.copy()
    around = np.arange(-int(radius) - 2, int(radius) + 3)
    distance = np.hypot(*np.meshgrid(around, around, indexing="ij"))
    layers = [(distance <= radius + 2, _WHITE)] if radius >= 4 else []
    for disc, value in [*layers, (distance <= radius, colour)]:
        offsets = around[np.argwhere(disc)]
        pixels = (np.clip(to_pixels(points, reach), 0, MAP_SIZE - 1)[:, np.newaxis] + offsets).reshape(-1, 2)
        row, column = pixels[((pixels >= 0) & (pixels < MAP_SIZE)).all(axis=1)].T
        sheet[row, column] = value
    return sheet


def count_cells(points: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent class of every cell of the map.

    Returns:
        centres `(MAP_CELLS², 2)`, row by row from the top left, and classes `(MAP_CELLS²,) int`, −1 where
        no code lies.
    """
    across = np.arange(MAP_CELLS) * (2 * MAP_REACH / MAP_CELLS) - MAP_REACH + MAP_REACH / MAP_CELLS
    centres = np.array([(column, row) for row in across[::-1] for column in across])
    row, column = (to_pixels(points) * MAP_CELLS // MAP_SIZE).T
    inside = (row >= 0) & (row < MAP_CELLS) & (column >= 0) & (column < MAP_CELLS)
    counts = np.zeros((MAP_CELLS * MAP_CELLS, np.max(y) + 1), int)
    np.add.at(counts, (row[inside] * MAP_CELLS + column[inside], np.asarray(y)[inside]), 1)
    return centres, np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def find_nearest(z_mean: np.ndarray, z: np.ndarray, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Indices into `z_mean` `(n, latent_dim)` of the codes nearest to `z` `(latent_dim,)`, and their distances.

    Both results have the shape `(min(count, n),)`; the nearest comes first; distances are Euclidean.
    ValueError: the shapes do not fit, a number is not finite, or `count` is below 1.
    """
    z_mean, z = np.asarray(z_mean), np.asarray(z)
    if z_mean.ndim != 2 or not len(z_mean) or z.shape != z_mean.shape[1:] or count < 1:
        shapes = f"{z_mean.shape}, {z.shape} and {count}"
        raise ValueError(f"z_mean must be (n, latent_dim), z (latent_dim,) and count at least 1, but are {shapes}.")
    offset = z_mean - z
    squares = np.einsum("ij,ij->i", offset, offset)
    if not np.isfinite(squares).all():
        raise ValueError("z_mean and z must be finite, but hold NaN or infinity.")
    count = min(count, len(squares))
    found = np.argpartition(squares, count - 1)[:count]
    found = found[np.argsort(squares[found], kind="stable")]
    return found, np.sqrt(squares[found])
