"""The data room: real MNIST from the package's own file, and the checks every image passes.

Images are `(batch, 28, 28, 1) float32 in [0, 1]`, labels `(batch,) int64`. Numpy only.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

MNIST_PATH = Path(__file__).parent / "assets" / "mnist.npz"
FASHION_PATH = Path(__file__).parent / "assets" / "fashion_mnist_1000.npz"

# The last training digits are kept for choosing models; the test digits are for the final numbers only.
VALIDATION_SIZE = 5_000

# MD5 of each array as the original IDX file (header + bytes), as published with MNIST.
# LeCun, Cortes and Burges, "The MNIST database of handwritten digits", CC BY-SA 3.0.
_MNIST_MD5 = {
    "x_train": "6bbc9ace898e44ae57da46a324031adb",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "2646ac647ad5339dbf082846283269ea",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}

# The same for the first 1,000 test images of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT licence).
_FASHION_MD5 = {"x": "8a1b719f9f0735f54c6f9ef07f01fe5c", "y": "e27076c4666f2f7b7b7ba19675567282"}

Arrays = tuple[np.ndarray, np.ndarray]


def load_mnist(limit: int | None = None, path: str | Path = MNIST_PATH) -> tuple[Arrays, Arrays]:
    """The 70,000 MNIST digits, or a class-balanced part of them.

    Args:
        limit: keep this many training and this many test digits (all of a split if it has fewer), the
            same number of each class up to one, in the original order. `None` keeps everything.
        path: the `.npz` file; the package's own unless you say otherwise.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images `(n, 28, 28, 1) float32 in [0, 1]` and labels
        `(n,) int64` in 0…9; n is 60,000 and 10,000 without a limit.

    Raises:
        FileNotFoundError: there is no file at `path`.
        ValueError: the file is damaged (its MD5 is not the published one), or `limit` is below 10.
    """
    if limit is not None and limit < 10:
        raise ValueError(f"limit must be at least 10, one digit of each class, but is {limit}.")
    arrays = _read_verified(Path(path), _MNIST_MD5)
    splits = []
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if limit is not None and limit < len(x):
            keep = balanced_indices(y, limit)
            x, y = x[keep], y[keep]
        splits.append((as_images(x), y.astype(np.int64)))
    return splits[0], splits[1]


def load_fashion_mnist(path: str | Path = FASHION_PATH) -> Arrays:
    """A thousand pictures of clothes, for what a model of digits has never seen.

    Args:
        path: the `.npz` file; the package's own unless you say otherwise.

    Returns:
        `x, y`: images `(1000, 28, 28, 1) float32 in [0, 1]` and labels `(1000,) int64` in 0…9.

    Raises:
        FileNotFoundError: there is no file at `path`.
        ValueError: the file is damaged.
    """
    arrays = _read_verified(Path(path), _FASHION_MD5)
    return as_images(arrays["x"]), arrays["y"].astype(np.int64)


def _read_verified(path: Path, checksums: dict[str, str]) -> dict[str, np.ndarray]:
    """The uint8 arrays of a data file, each with the checksum it must have."""
    remedy = f"restore it with `git checkout -- vae_utils/assets/{path.name}` or install the package again"
    if not path.is_file():
        raise FileNotFoundError(f"The data file {path.name} is missing from {path.parent}: {remedy}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in checksums}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"The data file {path} cannot be read ({error}): {remedy}.") from error
    for name, expected in checksums.items():
        if _idx_md5(arrays[name]) != expected:
            raise ValueError(f"The data file {path} is damaged ({name} fails its checksum): {remedy}.")
    return arrays


def _idx_md5(array: np.ndarray) -> str:
    """MD5 of a uint8 array written as an IDX file: magic number, sizes, bytes."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest()


def balanced_indices(y: np.ndarray, limit: int) -> np.ndarray:
    """Sorted indices of `limit` items, the first ones of each class, as many of each class as possible.

    Args:
        y: `(n,) int` labels.
        limit: how many to keep, at most n.

    Returns:
        `(limit,) int64` indices into `y`, rising.
    """
    rank = np.empty(len(y), dtype=np.int64)  # 0 for the first 3, 1 for the second 3, and so on
    for label in np.unique(y):
        where = np.flatnonzero(y == label)
        rank[where] = np.arange(len(where))
    return np.sort(np.lexsort((y, rank))[:limit])


def split_validation(x: np.ndarray, size: int = VALIDATION_SIZE) -> Arrays:
    """Training and validation part of the training digits: the last `size` validate.

    With fewer than two `size` digits (a class on a limit), the last tenth validates.

    Args:
        x: `(n, …)`, n ≥ 2.
        size: number of validation items.

    Returns:
        `x[:-size], x[-size:]`.
    """
    if len(x) < 2:
        raise ValueError(f"At least 2 images are needed to train and to validate, but there are {len(x)}.")
    size = size if len(x) >= 2 * size else max(1, len(x) // 10)
    return x[:-size], x[-size:]


def pixel_log_odds(x: np.ndarray) -> np.ndarray:
    """Log-odds of every pixel of the average image: the logits that draw it.

    Args:
        x: `(n, 28, 28, channels) float32 in [0, 1]`, n ≥ 1.

    Returns:
        `(28, 28, channels) float32`; pixels that are always black or white get the log-odds of 1 % or 99 %.
    """
    mean = np.clip(x.mean(axis=0, dtype=np.float64), 0.01, 0.99)
    return np.log(mean / (1 - mean)).astype(np.float32)


def as_images(pixels: np.ndarray) -> np.ndarray:
    """Grey levels 0…255, `(batch, 28, 28) uint8`, as `(batch, 28, 28, 1) float32 in [0, 1]`."""
    return pixels[..., np.newaxis].astype(np.float32) / np.float32(255)


def check_images(x: np.ndarray, name: str = "x", channels: int = 1) -> np.ndarray:
    """`x` itself as float32, if it is a batch of images by our contract.

    Args:
        x: anything array-like.
        name: what to call it in the message.
        channels: 1 for grey, 3 for colour.

    Returns:
        `(batch, 28, 28, channels) float32 in [0, 1]`; a view of `x` where it already is that.

    Raises:
        ValueError: wrong shape, no number, NaN, or outside [0, 1]; the message says what to do.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, but its type is {x.dtype}.")
    if x.ndim != 4 or x.shape[1:] != (28, 28, channels):
        hint = " (add the missing batch or channel axis, for example x[np.newaxis] or x[..., np.newaxis])"
        raise ValueError(
            f"{name} must have the shape (batch, 28, 28, {channels}), but has {x.shape}"
            + (hint if x.ndim in (2, 3) else "")
            + "."
        )
    x = x.astype(np.float32, copy=False)
    if x.size:
        low, high = float(x.min()), float(x.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"{name} holds NaN or infinite pixels: remove those images or repair them first.")
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} must lie in [0, 1], but reaches from {low:.3g} to {high:.3g}: "
                "divide grey levels by 255, or clip."
            )
    return x


def add_gaussian_noise(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """`x` plus `level` times standard normal noise per pixel, clipped to [0, 1].

    Args:
        x: `(batch, 28, 28, channels) float32 in [0, 1]`.
        level: standard deviation of the noise before clipping, in units of the pixel range, 0 or more.
        rng: source of the noise; the same state gives the same noise.

    Returns:
        a new array of the same shape, float32 in [0, 1].

    Raises:
        ValueError: `level` is negative or NaN.
    """
    if not level >= 0:
        raise ValueError(f"The noise level must be 0 or more, but is {level}.")
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return np.clip(x + np.float32(level) * noise, 0.0, 1.0)


def add_salt_and_pepper(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """`x` with a share `level` of its pixels replaced, half of them by black and half by white.

    Args:
        x: `(batch, 28, 28, channels) float32 in [0, 1]`.
        level: share of pixels that are replaced, in [0, 1].
        rng: source of the noise; the same state gives the same noise.

    Returns:
        a new array of the same shape, float32 in [0, 1].

    Raises:
        ValueError: `level` is outside [0, 1].
    """
    if not 0 <= level <= 1:
        raise ValueError(f"The share of replaced pixels must lie in [0, 1], but is {level}.")
    draw = rng.random(x.shape[:-1], dtype=np.float32)[..., np.newaxis]
    return np.where(draw < level / 2, np.float32(0), np.where(draw < level, np.float32(1), x))


# One colour per class for `colour_digits`: ten hues round the wheel, even digits vivid, odd digits pale.
DIGIT_COLOURS = np.array(
    [
        (1.00, 0.10, 0.10), (1.00, 0.73, 0.45), (0.82, 1.00, 0.10), (0.62, 1.00, 0.45), (0.10, 1.00, 0.46),
        (0.45, 1.00, 1.00), (0.10, 0.46, 1.00), (0.56, 0.45, 1.00), (0.82, 0.10, 1.00), (1.00, 0.45, 0.78),
    ],
    dtype=np.float32,
)  # fmt: skip


def add_watermark(
    x: np.ndarray,
    rng: np.random.Generator,
    size: tuple[float, float] = (12.0, 20.0),
    opacity: tuple[float, float] = (0.4, 0.8),
) -> tuple[np.ndarray, np.ndarray]:
    """`x` with a white © blended in, at a place, size and opacity drawn for each image.

    Where the stamp covers a pixel by s, the pixel becomes (1 − s) x + s.

    Args:
        x: `(batch, 28, 28, channels) float32 in [0, 1]`; the batch may be empty.
        rng: source of place, size and opacity; the same state gives the same stamps.
        size: smallest and largest diameter in pixels, within 1…28; the whole stamp stays inside the image.
        opacity: smallest and largest opacity, within 0…1; 1 hides what lies below.

    Returns:
        `(x_marked, stamp)`: a new array of the shape of `x`, and `(batch, 28, 28, 1)`, how far each pixel
        is covered; both float32 in [0, 1].

    Raises:
        ValueError: `size` or `opacity` is out of range or falls.
    """
    if not 1 <= size[0] <= size[1] <= 28:
        raise ValueError(f"size must be two rising diameters from 1 to 28 pixels, but is {size}.")
    if not 0 <= opacity[0] <= opacity[1] <= 1:
        raise ValueError(f"opacity must be two rising numbers from 0 to 1, but is {opacity}.")
    column = (len(x), 1, 1, 1)
    radius = rng.uniform(*size, column) / 2
    centre_x, centre_y = (rng.uniform(radius, 28 - radius, column) for _ in range(2))
    alpha = rng.uniform(*opacity, column)
    pixel = np.arange(28) + 0.5
    dx, dy = pixel[:, np.newaxis] - centre_x, pixel[:, np.newaxis, np.newaxis] - centre_y
    distance = np.hypot(dx, dy)
    ring = np.clip(0.12 * radius - np.abs(distance - 0.88 * radius) + 0.5, 0, 1)  # soft over one pixel
    letter = np.clip(0.12 * radius - np.abs(distance - 0.42 * radius) + 0.5, 0, 1)
    letter = np.where(dx > np.abs(dy), 0, letter)  # the C is open to the right
    stamp = (alpha * np.maximum(ring, letter)).astype(np.float32)
    return (1 - stamp) * x + stamp, stamp


def colour_digits(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, coin_classes: tuple[int, ...] = ()
) -> np.ndarray:
    """Grey digits in colour: the class decides the colour, except where a coin may replace it.

    Args:
        x: `(batch, 28, 28, 1) float32 in [0, 1]`; the batch may be empty.
        y: `(batch,) int` labels in 0…9.
        rng: source of the coin tosses; the same state gives the same colours.
        coin_classes: a digit of one of these classes takes its colour of `DIGIT_COLOURS` or the
            complement, 1 − colour, each with probability ½.

    Returns:
        `(batch, 28, 28, 3) float32 in [0, 1]`, the grey level times the digit's colour.

    Raises:
        ValueError: `x` is not grey, `y` is not as long, or a label lies outside 0…9.
    """
    y = np.asarray(y)
    if x.ndim != 4 or x.shape[-1] != 1 or y.shape != x.shape[:1]:
        raise ValueError(f"x must be (batch, 28, 28, 1) and y (batch,), but are {x.shape} and {y.shape}.")
    if len(y) and not (y.min() >= 0 and y.max() <= 9):
        raise ValueError(f"Labels must lie in 0…9, but reach from {y.min()} to {y.max()}.")
    colours = DIGIT_COLOURS[y]
    tossed = np.isin(y, coin_classes) & (rng.random(len(y)) < 0.5)
    colours = np.where(tossed[:, np.newaxis], 1 - colours, colours)
    return x * colours[:, np.newaxis, np.newaxis, :]
