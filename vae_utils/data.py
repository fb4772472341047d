"""Images for the course: digits, clothes, emoji, your own pictures; noise and stamps to put over them.

Images are `(n, height, width, channels) float32 in [0, 1]` with 1 (grey) or 3 (RGB) channels.
"""

import zlib
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vae_utils.vae import check_images

ASSETS = Path(__file__).parent / "assets"
# The last training digits are kept for choosing models; the test digits are for the final numbers only.
VALIDATION_SIZE = 5_000

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the grey value: ITU-R BT.601
# Words of watermarks: those the shipped network learned from, and others to test it with.
STAMP_WORDS = (
    "BOXER", "BRAND", "COPY", "DEMO", "DRAFT", "FIXED", "GLYPH", "HAZEL", "IMAGE", "JUMPY", "LYNX", "OXIDE", "PHOTO",
    "PREVIEW", "PROOF", "QUICK", "SAMPLE", "STOCK", "TRIAL", "VIXEN", "VOID", "WALTZ",
)  # fmt: skip
HELD_OUT_WORDS = ("EVENT", "MEDIA", "MINE", "OWNER", "PRESS", "SHOP", "SOLD", "TEST")

# Emoji whose names differ in these words only are near-copies of each other: skin tone, gender, direction, hair.
VARIANT_WORDS = {
    "light", "medium", "dark", "man", "woman", "person", "facing", "left", "right",
    "bald", "beard", "blonde", "curly", "red", "white", "hair",
}  # fmt: skip

Arrays = tuple[np.ndarray, np.ndarray]


def load_mnist(limit: int | None = None) -> tuple[Arrays, Arrays]:
    """The 70,000 MNIST digits, or a class-balanced part of them.

    Returns `(x_train, y_train), (x_test, y_test)`: images `(n, 28, 28, 1)` and labels `(n,) int64` in 0…9. A `limit`
    keeps that many of both parts (all of a part that has fewer), the same number of each class up to one, in the
    original order. ValueError if the file is missing or damaged, or `limit` below 10.
    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", CC BY-SA 3.0.
    """
    if limit is not None and (not isinstance(limit, Integral) or limit < 10):
        raise ValueError(f"limit must be a whole number of at least 10, one digit of each class, but is {limit!r}.")
    arrays, parts = read_file(ASSETS / "mnist.npz", read_arrays), []
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"].astype(np.int64)
        keep = slice(None) if limit is None or limit >= len(x) else balanced_indices(y, limit)
        parts.append((scale_pixels(x[keep][..., np.newaxis]), y[keep]))
    return parts[0], parts[1]


def load_fashion_mnist() -> Arrays:
    """The first 1,000 test images of Fashion-MNIST: clothes, which a model of digits has never seen.

    Returns `x, y`: images `(1000, 28, 28, 1)` and labels `(1000,) int64` in 0…9. A missing or damaged file raises as in
    `load_mnist`. Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747, MIT licence.
    """
    arrays = read_file(ASSETS / "fashion_mnist_1000.npz", read_arrays)
    return scale_pixels(arrays["x"][..., np.newaxis]), arrays["y"].astype(np.int64)


def load_emoji() -> tuple[Arrays, Arrays]:
    """3,174 emoji on white with their names, about one in ten of them for testing.

    A figure in its five skin tones, as man, woman and person, facing left and right, or with other hair is one family:
    all names that agree without `VARIANT_WORDS`. A hash of these names puts a whole family either into the training
    part or into the test part. Families that resemble each other by chance, such as the faces of clocks, can be on
    both sides.

    Returns `(x_train, names_train), (x_test, names_test)`: images `(n, 32, 32, 3)` and names `(n,) str`; n is 2,844 and
    330. Skin tones end in `-light`, `-medium-light`, `-medium`, `-medium-dark` or `-dark`. Errors as in `load_mnist`.
    Source: Microsoft's Fluent Emoji, flat style, MIT licence, drawn at 32×32 pixels from the npm package
    `@iconify-json/fluent-emoji-flat` 1.2.6.
    """
    arrays = read_file(ASSETS / "emoji32.npz", read_arrays)
    x, names = scale_pixels(arrays["x"]), arrays["names"]
    test = number_families(names) == 1  # with this number, no test emoji has a near-copy (PSNR above 25 dB) in training
    return (x[~test], names[~test]), (x[test], names[test])


def number_families(names: np.ndarray) -> np.ndarray:
    """A number from 0 to 9 for every name of an emoji, `(n,)`, by a hash: one family has one number, 1 is for tests."""
    families = ("-".join(word for word in str(name).split("-") if word not in VARIANT_WORDS) for name in names)
    return np.array([zlib.crc32(family.encode()) % 10 for family in families], np.int64)


def load_folder(path: str | Path, image_shape: tuple[int, int, int]) -> Arrays:
    """Your own pictures from a folder: PNG, JPEG, WebP, GIF (its first frame) or BMP of any size.

    A picture is turned as its camera says (EXIF), laid on white where it is transparent, and resized (Lanczos filter)
    until it just covers `image_shape`; what is too long is cut off equally at both ends. Nothing is stretched.

    Hidden files and sub-folders are skipped; every other file must be a picture. `image_shape` is `(height, width,
    channels)`; 1 channel gives grey, 3 give RGB. Returns `x, names`: images `(n, height, width, channels)` and file
    names `(n,) str`, sorted by name. ValueError: no such folder, no pictures in it, a bad `image_shape`, or a file that
    cannot be read, which is named.
    """
    sizes = image_shape if isinstance(image_shape, (tuple, list)) else ()
    if len(sizes) != 3 or not all(isinstance(n, Integral) and n > 0 for n in sizes) or sizes[2] not in (1, 3):
        raise ValueError(f"image_shape must be (height, width, 1 or 3) in whole pixels, but is {image_shape!r}.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: check the spelling, or give the full path.")
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and not file.is_dir())
    if not files:
        raise ValueError(f"The folder {folder} holds no pictures: sub-folders are not searched.")
    pixels = np.stack([_read_picture(file, *sizes) for file in files])
    return scale_pixels(pixels), np.array([file.name for file in files])


def _read_picture(file: Path, height: int, width: int, channels: int) -> np.ndarray:
    """One picture file as `(height, width, channels) uint8`."""
    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP")) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
                picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
            picture = picture.convert("RGBA")
    except Exception as error:  # the decoders raise many types, all for the same reason
        raise ValueError(
            f"{file} cannot be read as a PNG, JPEG, WebP, GIF or BMP picture: repair it or move it out of the folder."
        ) from error
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture).convert("L" if channels == 1 else "RGB")
    picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(height, width, channels)


def read_file(path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a file that ships; ValueError with what to do if it is missing or damaged."""
    try:
        return read(path)
    except Exception as error:  # NumPy, zip, HDF5 and JSON raise many types, all for the same reason
        cure = f"restore it with `git checkout -- {path.name}` in its folder or install the package again"
        raise ValueError(f"The file {path} cannot be read: {cure}.") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; zip's own checksums tell whether it is damaged."""
    with np.load(path) as file:
        return dict(file)


def scale_pixels(pixels: np.ndarray) -> np.ndarray:
    """Levels 0…255 `uint8` as `float32 in [0, 1]`, of the same shape."""
    return pixels.astype(np.float32) / np.float32(255)


def balanced_indices(y: np.ndarray, limit: int) -> np.ndarray:
    """Rising indices `(limit,)` of the first items of each class, as many of each class as possible.

    `y` are labels `(n,)`; ValueError unless `limit` is a whole number from 0 to n.
    """
    y = np.asarray(y)
    if y.ndim != 1 or not isinstance(limit, Integral) or not 0 <= limit <= len(y):
        raise ValueError(f"Need labels (n,) and a limit from 0 to n, but have {y.shape} and {limit!r}.")
    rank = np.empty(len(y), dtype=np.int64)  # 0 for the first 3, 1 for the second 3, and so on
    for label in np.unique(y):
        where = np.flatnonzero(y == label)
        rank[where] = np.arange(len(where))
    return np.sort(np.lexsort((y, rank))[:limit])


def split_validation(x: np.ndarray, size: int = VALIDATION_SIZE) -> Arrays:
    """`x[:-size], x[-size:]`: the last `size` items validate, or the last tenth where `x` has fewer than two `size`.

    ValueError for fewer than 2 items, or a `size` below 1.
    """
    if len(x) < 2 or not isinstance(size, Integral) or size < 1:
        raise ValueError(f"Need at least 2 images and a size of at least 1, but have {len(x)} and {size!r}.")
    size = size if len(x) >= 2 * size else max(1, len(x) // 10)
    return x[:-size], x[-size:]


def pixel_log_odds(x: np.ndarray) -> np.ndarray:
    """Log-odds of the average image, the logits that draw it: `(n, *image_shape)` -> `image_shape float32`.

    Pixels that are always black or always white get the log-odds of 1 % or 99 %. ValueError without any image.
    """
    x = check_images(x)
    if len(x) == 0:
        raise ValueError("x holds no images: an average needs at least one.")
    mean = np.clip(x.mean(axis=0, dtype=np.float64), 0.01, 0.99)
    return np.log(mean / (1 - mean)).astype(np.float32)


def add_gaussian_noise(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A copy of the images `x` plus `level` times standard normal noise per pixel and channel, clipped to [0, 1].

    `level` is the standard deviation before clipping, in units of the pixel range, 0 or more; else ValueError. The
    same state of `rng` gives the same noise.
    """
    x = _check_noise_input(x, level, np.inf, rng)
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return np.clip(x + np.float32(level) * noise, 0, 1)


def add_salt_and_pepper(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A copy of the images `x` with a share `level` of the pixels replaced, half by black and half by white.

    `level` lies in [0, 1], else ValueError. The same state of `rng` gives the same noise.
    """
    x = _check_noise_input(x, level, 1, rng)
    draw = rng.random(x.shape[:-1], dtype=np.float32)[..., np.newaxis]
    return np.where(draw < level / 2, np.float32(0), np.where(draw < level, np.float32(1), x))


def stamp_words(x: np.ndarray, words: Sequence[str], rng: np.random.Generator) -> Arrays:
    """Copies of the images `x` with one of the `words` over each, and its opacity at every pixel.

    Word, size (letters of a quarter to two fifths of the image), place, angle (up to 45° either way), colour and
    opacity (0.5 to 0.8) are random: `stamped = (1 - opacity) * x + opacity * colour`. Returns `stamped` like `x`, and
    `opacity (n, height, width, 1)`, 0 beside the letters. ValueError: `x` or `rng` as for the noises; no words.
    """
    x = _check_noise_input(x, 0, 1, rng)
    if isinstance(words, str) or not len(words) or not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"words must hold at least one text that is not empty, such as ['DRAFT'], but is {words!r}.")
    n, height, width, channels = x.shape
    opacity, fine = np.empty((n, height, width, 1), np.float32), 4  # drawn four times as large, for smooth edges
    side = fine * min(height, width)
    for one in opacity:
        font, word = ImageFont.load_default(side * rng.uniform(0.25, 0.4)), str(rng.choice(words))
        sheet, middle = Image.new("L", (fine * width, fine * height)), (fine * width / 2, fine * height / 2)
        ImageDraw.Draw(sheet).text(middle, word, 255, font, anchor="mm", stroke_width=side // 64)
        move, angle = rng.uniform(-0.2, 0.2, 2) * side, rng.uniform(-45, 45)
        sheet = sheet.rotate(angle, Image.Resampling.BICUBIC, translate=tuple(move)).reduce(fine)
        one[..., 0] = rng.uniform(0.5, 0.8) * scale_pixels(np.asarray(sheet))
    colour = rng.random((n, 1, 1, channels), dtype=np.float32)
    return x + opacity * (colour - x), opacity


def to_grey(x: np.ndarray) -> np.ndarray:
    """Luma `(n, height, width, 1)` of RGB images `(n, height, width, 3)` in [0, 1], else ValueError; see `LUMA`."""
    x = check_images(x)
    if x.shape[-1] != 3:
        raise ValueError(f"x must have the shape (batch, height, width, 3), but has {x.shape}.")
    return (x @ np.float32(LUMA))[..., np.newaxis].clip(0, 1)


def _check_noise_input(x: np.ndarray, level: float, highest: float, rng: np.random.Generator) -> np.ndarray:
    """`x` as checked images; ValueError if it, the level or the generator will not do."""
    if not isinstance(level, Real) or not 0 <= level <= highest or level == np.inf:
        wanted = "0 or more" if highest == np.inf else f"in [0, {highest}]"
        raise ValueError(f"The noise level must be a number {wanted}, but is {level!r}.")
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a random generator, such as np.random.default_rng(0), but is {rng!r}.")
    return check_images(x)
