"""MNIST comes whole, verified and offline; bad input gets one clear sentence."""

import numpy as np
import pytest

from vae_utils import data


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


def test_limit_below_one_of_each_class():
    with pytest.raises(ValueError, match="at least 10"):
        data.load_mnist(limit=9)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.*git checkout"):
        data.load_mnist(path=tmp_path / "mnist.npz")


def test_truncated_file(tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(data.MNIST_PATH.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cannot be read.*git checkout"):
        data.load_mnist(path=path)


def test_flipped_bytes_inside_the_file(tmp_path):
    content = bytearray(data.MNIST_PATH.read_bytes())
    content[5_000_000] ^= 0xFF
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged|cannot be read"):
        data.load_mnist(path=path)


def test_another_array_in_a_sound_file(tmp_path):
    with np.load(data.MNIST_PATH) as file:
        arrays = dict(file)
    arrays["x_test"][0, 0, 0] ^= 1
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match="x_test fails its checksum"):
        data.load_mnist(path=tmp_path / "mnist.npz")


def test_fashion_mnist_is_a_thousand_pictures():
    x, y = data.load_fashion_mnist()
    assert data.check_images(x).shape == (1000, 28, 28, 1)
    assert sorted(set(y.tolist())) == list(range(10))


def test_split_validation_takes_the_last():
    x = np.arange(60_000)
    train, validation = data.split_validation(x)
    assert len(train) == 55_000 and validation[0] == 55_000
    train, validation = data.split_validation(np.arange(100))
    assert len(train) == 90 and validation[0] == 90
    with pytest.raises(ValueError, match="At least 2"):
        data.split_validation(np.arange(1))


GOOD = np.zeros((2, 28, 28, 1), np.float32)
BAD_IMAGES = [
    (GOOD[..., 0], "must have the shape"),
    (GOOD[0], "missing batch"),
    (np.zeros((2, 32, 32, 1)), "must have the shape"),
    (GOOD + 255, "divide grey levels by 255"),
    (GOOD - 0.5, r"\[0, 1\]"),
    (np.full_like(GOOD, np.nan), "NaN"),
    (np.full_like(GOOD, np.inf), "infinite"),
    (np.full(GOOD.shape, "a"), "must hold numbers"),
]


@pytest.mark.parametrize(("x", "sentence"), BAD_IMAGES)
def test_bad_images_get_one_sentence(x, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        data.check_images(x, "digits")
    assert str(error.value).startswith("digits ") and str(error.value).count("\n") == 0


def test_good_images_pass_unchanged():
    assert data.check_images(GOOD) is GOOD
    assert data.check_images(GOOD[:0]).shape == (0, 28, 28, 1)
    assert data.check_images(np.ones((1, 28, 28, 1), np.int64)).dtype == np.float32


def test_gaussian_noise_has_the_published_strength():
    (_, _), (x_test, _) = data.load_mnist()
    noisy = data.add_gaussian_noise(x_test, 0.5, np.random.default_rng(0))
    assert noisy.dtype == np.float32 and noisy.min() == 0 and noisy.max() == 1
    assert np.mean((noisy - x_test) ** 2) == pytest.approx(0.1156, abs=5e-4)
    assert np.array_equal(data.add_gaussian_noise(x_test[:5], 0.0, np.random.default_rng(0)), x_test[:5])


def test_salt_and_pepper_replaces_the_share_it_says():
    grey = np.full((200, 28, 28, 1), 0.5, np.float32)
    noisy = data.add_salt_and_pepper(grey, 0.3, np.random.default_rng(0))
    assert np.mean(noisy == 0) == pytest.approx(0.15, abs=0.01)
    assert np.mean(noisy == 1) == pytest.approx(0.15, abs=0.01)
    assert noisy.dtype == np.float32


@pytest.mark.parametrize("level", [-0.1, float("nan")])
def test_noise_levels_out_of_range(level):
    for corrupt in (data.add_gaussian_noise, data.add_salt_and_pepper):
        with pytest.raises(ValueError, match="but is"):
            corrupt(GOOD, level, np.random.default_rng(0))
