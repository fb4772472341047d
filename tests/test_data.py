"""Data come whole, verified and offline; a user's own pictures as the user sees them; bad input gets one sentence."""

import hashlib
import re
import struct

import numpy as np
import pytest
from PIL import Image

from vae_utils import data
from vae_utils.vae import check_images

SHAPES = [(28, 28, 1), (32, 32, 1), (32, 32, 3)]


# --- MNIST and Fashion-MNIST -------------------------------------------------------------------------


def test_mnist_keeps_the_contract():
    (x_train, y_train), (x_test, y_test) = data.load_mnist()
    assert x_train.shape == (60_000, 28, 28, 1) and x_test.shape == (10_000, 28, 28, 1)
    assert x_train.dtype == np.float32 and x_train.min() == 0 and x_train.max() == 1
    assert list(np.bincount(y_test)) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert x_train.mean() == pytest.approx(0.1307, abs=1e-4)


@pytest.mark.parametrize("limit", [10, 105, 1000])
def test_limit_takes_a_balanced_subset(limit):
    (x, y), (x_test, _) = data.load_mnist(limit=limit)
    counts = np.bincount(y, minlength=10)
    assert len(x) == len(y) == len(x_test) == limit
    assert counts.max() - counts.min() <= 1


def test_limit_beyond_a_split_keeps_all_of_it():
    (x, _), (x_test, _) = data.load_mnist(limit=20_000)
    assert len(x) == 20_000 and len(x_test) == 10_000


@pytest.mark.parametrize("limit", [9, -1, 20.5, "100", float("nan")])
def test_impossible_limits(limit):
    with pytest.raises(ValueError, match="whole number of at least 10"):
        data.load_mnist(limit=limit)


def test_fashion_mnist_is_a_thousand_pictures():
    x, y = data.load_fashion_mnist()
    assert check_images(x).shape == (1000, 28, 28, 1)
    assert np.bincount(y).shape == (10,) and np.bincount(y).min() > 80


FILES = {"mnist": data.load_mnist, "fashion_mnist_1000": data.load_fashion_mnist, "emoji32": data.load_emoji}


@pytest.mark.parametrize(("name", "load"), FILES.items(), ids=FILES)
def test_missing_and_damaged_files(name, load, tmp_path, monkeypatch):
    path, content = tmp_path / f"{name}.npz", bytearray((data.ASSETS / f"{name}.npz").read_bytes())
    monkeypatch.setattr(data, "ASSETS", tmp_path)
    content[len(content) // 2] ^= 0xFF
    for damaged in (None, content, content[:100_000], b"", b"no archive"):
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^The file .*cannot be read.*git checkout.*{name}.* again\.$"):
            load()


def test_a_changed_bit_anywhere_is_found(tmp_path, monkeypatch):
    content, expected = (data.ASSETS / "fashion_mnist_1000.npz").read_bytes(), data.load_fashion_mnist()
    monkeypatch.setattr(data, "ASSETS", tmp_path)
    for place in np.random.default_rng(0).integers(len(content), size=100):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "fashion_mnist_1000.npz").write_bytes(damaged)
        try:
            loaded = data.load_fashion_mnist()
        except ValueError:
            continue
        assert all(np.array_equal(*pair) for pair in zip(loaded, expected, strict=True))  # a date, for example


# MD5 of each array as an IDX file (header and bytes); those of MNIST are published with it.
CHECKSUMS = {
    "mnist": {
        "x_train": "6bbc9ace898e44ae57da46a324031adb",
        "y_train": "a25bea736e30d166cdddb491f175f624",
        "x_test": "2646ac647ad5339dbf082846283269ea",
        "y_test": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist_1000": {"x": "8a1b719f9f0735f54c6f9ef07f01fe5c", "y": "e27076c4666f2f7b7b7ba19675567282"},
    "emoji32": {"x": "ace1dc2c5c6ac672daa23cfd9387834e", "names": "319643b3d6106b885a452473e0f4ece2"},
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_the_data_are_those_that_were_published(name):
    arrays = data.read_arrays(data.ASSETS / f"{name}.npz")
    assert arrays.keys() == CHECKSUMS[name].keys()
    for key, array in arrays.items():
        header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
        assert hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest() == CHECKSUMS[name][key]


# --- emoji -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emoji() -> tuple[data.Arrays, data.Arrays]:
    return data.load_emoji()


def test_emoji_keep_the_contract_and_nothing_is_lost(emoji):
    (x_train, names_train), (x_test, names_test) = emoji
    assert check_images(x_train, (32, 32, 3)).shape == (2844, 32, 32, 3) and x_train.dtype == np.float32
    assert check_images(x_test, (32, 32, 3)).shape == (330, 32, 32, 3) and len(names_test) == 330
    with np.load(data.ASSETS / "emoji32.npz") as file:
        pixels = dict(zip(file["names"], file["x"], strict=True))
    assert sorted([*names_train, *names_test]) == sorted(pixels)
    for x, names in emoji:
        assert all(np.array_equal(np.rint(image * 255), pixels[name]) for image, name in zip(x, names, strict=True))


def test_emoji_have_their_names_and_colours(emoji):
    (x, names), _ = emoji
    for name, colour in (("red-circle", (1, 0, 0)), ("green-square", (0, 1, 0)), ("blue-heart", (0, 0, 1))):
        (image,) = x[names == name]
        assert np.argmax(image[16, 16]) == np.argmax(colour)
        assert np.all(image[0, 0] == 1)  # on white


def test_no_figure_is_on_both_sides(emoji):
    """Independent of the package's word list: a figure is what a grammar of the names says, tone by tone."""
    train, test = (set(names.tolist()) for _, names in emoji)
    tones = ("-light", "-medium-light", "-medium", "-medium-dark", "-dark")
    figures = [name for name in train | test if all(name + tone in train | test for tone in tones)]
    assert len(figures) == 316
    for name in figures:
        family = {name + tone for tone in ("", *tones)}
        family |= {who + name for who in ("man-", "woman-", "person-")} & (train | test)  # firefighter, man-firefighter
        match = re.fullmatch(r"(man|woman|person)-(.+)", name)
        family |= {f"{who}-{match[2]}" for who in ("man", "woman", "person")} & (train | test) if match else set()
        family |= {f"{name}-facing-right"} & (train | test)
        assert family <= train or family <= test, name
    heads = re.compile(r"(man|woman|person)(-(bald|beard|(blonde|curly|red|white)-hair))?(-[a-z]+)?(-light|-dark)?")
    hair = {name for name in train | test if heads.fullmatch(name) and "hair" in name}
    assert len(hair) == 72 and (hair <= train or hair <= test)


def test_no_test_emoji_has_a_near_copy_among_the_training_ones(emoji):
    (x_train, _), (x_test, names_test) = emoji
    train, test = (x.reshape(len(x), -1).astype(np.float64) for x in (x_train, x_test))
    squared = np.sum(test**2, axis=1)[:, np.newaxis] + np.sum(train**2, axis=1) - 2 * test @ train.T
    nearest = squared.min(axis=1) / train.shape[1]  # mean squared error
    assert names_test[nearest < 10**-2.5].tolist() == []  # none has a PSNR above 25 dB


# --- a folder of pictures ----------------------------------------------------------------------------

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def bands(*colours: tuple[int, ...], size: int = 60, mode: str = "RGB") -> Image.Image:
    """Squares of one colour each, side by side."""
    picture = Image.new(mode, (size * len(colours), size))
    for i, colour in enumerate(colours):
        picture.paste(colour, (i * size, 0, (i + 1) * size, size))
    return picture


@pytest.mark.parametrize("shape", [*SHAPES, (24, 40, 3)])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (64, 64)])
def test_any_size_becomes_the_shape_asked_for(shape, size, tmp_path):
    Image.new("RGB", size, WHITE).save(tmp_path / "a.png")
    x, names = data.load_folder(tmp_path, shape)
    assert check_images(x, shape).shape == (1, *shape) and x.dtype == np.float32
    assert names.tolist() == ["a.png"] and np.all(x == 1)


def test_a_picture_of_the_right_size_keeps_every_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.bmp")
    x, _ = data.load_folder(str(tmp_path), (32, 28, 3))
    np.testing.assert_allclose(x[0], pixels / 255, atol=1e-6)
    np.testing.assert_allclose(x[1], np.repeat(pixels[..., :1], 3, axis=-1) / 255, atol=1e-6)
    x, _ = data.load_folder(tmp_path, (32, 28, 1))
    np.testing.assert_allclose(x[1], pixels[..., :1] / 255, atol=1e-6)
    np.testing.assert_allclose(x[0, ..., 0], pixels / 255 @ (0.299, 0.587, 0.114), atol=1 / 255)  # ITU-R BT.601


def test_the_middle_of_a_picture_is_kept(tmp_path):
    wide = bands(RED, GREEN, BLUE)
    wide.save(tmp_path / "1_wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "2_tall.png")
    x, _ = data.load_folder(tmp_path, (32, 32, 3))
    np.testing.assert_allclose(x[:, 2:-2, 2:-2], np.broadcast_to((0, 1, 0), (2, 28, 28, 3)), atol=0.01)
    x, _ = data.load_folder(tmp_path, (30, 90, 3))  # the wide one fits whole
    np.testing.assert_allclose(x[0, 15, [15, 45, 75]], np.eye(3), atol=0.01)


def test_reducing_averages_instead_of_picking_pixels(tmp_path):
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    x, _ = data.load_folder(tmp_path, (32, 32, 1))
    np.testing.assert_allclose(x[:, 2:-2, 2:-2], 0.5, atol=0.02)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_exif_orientation_is_honoured(orientation, corner, tmp_path):
    """The stored picture is black in its upper left corner; the numbers are those of the EXIF standard."""
    picture = Image.new("RGB", (64, 64), WHITE)
    picture.paste((0, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    x, _ = data.load_folder(tmp_path, (32, 32, 1))
    quarters = x[0, 8::16, 8::16, 0]
    assert np.unravel_index(quarters.argmin(), (2, 2)) == corner and np.sort(quarters.ravel())[1] > 0.9


def test_transparency_is_laid_on_white(tmp_path):
    half = bands((0, 0, 0, 0), (0, 0, 0, 128), (0, 0, 0, 255), mode="RGBA")  # black, more and more opaque
    half.save(tmp_path / "1_rgba.png")
    half.convert("LA").save(tmp_path / "2_grey.png")
    palette = bands((0,), (0,), (1,), mode="P")
    palette.putpalette([*GREEN, 0, 0, 0])
    palette.save(tmp_path / "3_palette.png", transparency=0)
    x, _ = data.load_folder(tmp_path, (30, 90, 1))
    levels = x[:, 15, [15, 45, 75], 0]
    np.testing.assert_allclose(levels, [(1, 127 / 255, 0), (1, 127 / 255, 0), (1, 1, 0)], atol=0.01)


def test_16_bit_grey_keeps_its_levels(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "microscope.png")
    for channels in (1, 3):
        x, _ = data.load_folder(tmp_path, (32, 32, channels))
        np.testing.assert_allclose(x[0, 0, :, 0], np.linspace(0, 1, 32), atol=0.5 / 255 + 1e-4)


def test_other_formats_and_modes(tmp_path):
    red = bands(RED)
    for name in ("a.png", "b.JPG", "c.webp", "d.gif", "e.bmp", "f"):
        red.save(tmp_path / name, format={".JPG": "JPEG", "": "PNG"}.get((tmp_path / name).suffix))
    red.convert("CMYK").save(tmp_path / "g.jpeg")
    x, names = data.load_folder(tmp_path, (32, 32, 3))
    assert names.tolist() == ["a.png", "b.JPG", "c.webp", "d.gif", "e.bmp", "f", "g.jpeg"]
    np.testing.assert_allclose(x, np.broadcast_to((1, 0, 0), x.shape), atol=0.02)


def test_pictures_come_by_name_without_hidden_files_and_sub_folders(tmp_path):
    for name, colour in (("b.png", GREEN), ("a.png", RED), ("c.png", BLUE)):
        bands(colour).save(tmp_path / name)
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "more").mkdir()
    x, names = data.load_folder(tmp_path, (4, 4, 3))
    assert names.tolist() == ["a.png", "b.png", "c.png"]
    np.testing.assert_allclose(x[:, 0, 0], np.eye(3), atol=0.01)


def write_truncated(path, **how):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **how)
    path.write_bytes(path.read_bytes()[:5000])


BAD_FILES = {
    "truncated.jpg": write_truncated,
    "truncated.png": write_truncated,
    "renamed.png": lambda path: path.write_text("dear diary"),
    "notes.txt": lambda path: path.write_text("dear diary"),
    "empty.gif": lambda path: path.touch(),
}


@pytest.mark.parametrize(("name", "write"), BAD_FILES.items(), ids=BAD_FILES)
def test_a_file_that_is_no_picture_is_named(name, write, tmp_path):
    bands(RED).save(tmp_path / "a_good_one.png")
    write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} cannot be read") as error:
        data.load_folder(tmp_path, (32, 32, 3))
    assert "\n" not in str(error.value)


def test_missing_and_empty_folders(tmp_path):
    bands(RED).save(tmp_path / "a.png")
    for path in (tmp_path / "missing", tmp_path / "a.png"):
        with pytest.raises(ValueError, match="There is no folder"):
            data.load_folder(path, (32, 32, 3))
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no pictures"):
        data.load_folder(tmp_path / "empty", (32, 32, 3))


@pytest.mark.parametrize(
    "shape", [(32, 32), 32, (32, 32, 4), (0, 32, 3), (32.0, 32, 3), (-1, 32, 3), "abc", None, ((1, 2), 3)]
)
def test_impossible_shapes(shape, tmp_path):
    with pytest.raises(ValueError, match=r"image_shape must be \(height, width, 1 or 3\)"):
        data.load_folder(tmp_path, shape)


# --- parts and averages ------------------------------------------------------------------------------


def test_split_validation_takes_the_last():
    x = np.arange(60_000)
    train, validation = data.split_validation(x)
    assert len(train) == 55_000 and validation[0] == 55_000
    train, validation = data.split_validation(np.arange(100))
    assert len(train) == 90 and validation[0] == 90
    train, validation = data.split_validation(np.zeros((5, 32, 32, 3)), size=2)
    assert train.shape == (3, 32, 32, 3) and validation.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(("n", "size"), [(1, 5), (0, 5), (20, 0), (20, -3), (20, 2.5)])
def test_impossible_validation_parts(n, size):
    with pytest.raises(ValueError, match="Need at least 2 images and a size of at least 1"):
        data.split_validation(np.arange(n), size)


def test_balanced_indices_take_the_first_of_every_class():
    y = np.array(["b", "a", "a", "a", "b", "c"])
    assert data.balanced_indices(y, 3).tolist() == [0, 1, 5]
    assert data.balanced_indices(y, 5).tolist() == [0, 1, 2, 4, 5]
    assert data.balanced_indices(y, 0).tolist() == []
    for labels, limit in ((y, 7), (y, -1), (y, 2.0), (y[np.newaxis], 1)):
        with pytest.raises(ValueError, match="limit from 0 to n"):
            data.balanced_indices(labels, limit)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_odds_draw_the_average_image(shape):
    x = np.random.default_rng(0).uniform(0.1, 0.9, (50, *shape)).astype(np.float32)
    log_odds = data.pixel_log_odds(x)
    assert log_odds.shape == shape and log_odds.dtype == np.float32
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), x.mean(axis=0), atol=1e-5)
    constant = data.pixel_log_odds(np.stack([np.zeros(shape), np.zeros(shape)]))
    np.testing.assert_allclose(constant, np.log(0.01 / 0.99), rtol=1e-5)


BAD_AVERAGES = [
    (np.zeros((0, 28, 28, 1)), "at least one"),
    (np.zeros((3, 28, 28)), "shape"),
    (np.zeros((3, 28, 28, 2)), "shape"),
    (np.full((3, 28, 28, 1), np.nan), "NaN"),
    (np.full((3, 28, 28, 1), 255.0), "divide by 255"),
]


@pytest.mark.parametrize(("x", "sentence"), BAD_AVERAGES)
def test_log_odds_of_what_has_no_average(x, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.pixel_log_odds(x)


# --- the check that images pass everywhere -----------------------------------------------------------

GOOD = np.zeros((2, 28, 28, 1), np.float32)
BAD_IMAGES = [
    (GOOD[..., 0], "must have the shape.*missing batch or channel axis"),
    (GOOD[0], "missing batch"),
    (np.zeros((2, 32, 32, 1)), "must have the shape"),
    (GOOD + 255, "divide.* by 255"),
    (GOOD - 0.5, r"\[0, 1\]"),
    (np.full_like(GOOD, np.nan), "NaN"),
    (np.full_like(GOOD, np.inf), "infinit"),
    (np.full(GOOD.shape, "a"), "must hold .*numbers"),
]


@pytest.mark.parametrize(("x", "sentence"), BAD_IMAGES)
def test_bad_images_get_one_sentence(x, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        check_images(x, (28, 28, 1), "digits")
    assert str(error.value).startswith("digits ") and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", SHAPES)
def test_good_images_pass_unchanged(shape):
    x = np.zeros((2, *shape), np.float32)
    assert check_images(x) is x and check_images(x, shape) is x
    assert check_images(x[:0], shape).shape == (0, *shape)
    assert check_images(np.ones((1, *shape), np.int64)).dtype == np.float32
