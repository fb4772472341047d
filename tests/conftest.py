"""Shared by all tests: a few real digits, an untrained model of the course's size, and one quick to build."""

import os

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def browser():
    """A Chromium, as Playwright's `Browser`; skips where there is none, unless REQUIRE_BROWSER is set."""
    from tools.browser import find_chromium, open_browser

    if find_chromium() is None:
        assert not os.environ.get("REQUIRE_BROWSER"), "No Chromium found, and REQUIRE_BROWSER asks for one."
        pytest.skip("no Chromium on this machine")
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """2,000 training digits and their labels."""
    from vae_utils import load_mnist

    return load_mnist(limit=2000)[0]


@pytest.fixture
def vae():
    """A fresh, untrained VAE of two dimensions."""
    from vae_utils import VAE, build_decoder, build_encoder
    from vae_utils.backend import keras

    keras.utils.set_random_seed(0)
    return VAE(build_encoder(2), build_decoder(2), seed=0)


@pytest.fixture(scope="session")
def dense_vae():
    """A function that builds a VAE of three dense layers, in a moment; the image passes the layers `first` before."""
    from vae_utils import VAE
    from vae_utils.backend import keras

    def build(*first, image_shape=(8, 8, 1), regularizer=None, **options):
        x = h = keras.Input(image_shape)
        for layer in (*first, keras.layers.Flatten()):
            h = layer(h)
        heads = [keras.layers.Dense(2, kernel_regularizer=regularizer, name=name) for name in ("z_mean", "z_log_var")]
        z = keras.Input((2,))
        pixels = keras.layers.Dense(int(np.prod(image_shape)), name="pixels")(z)
        decoder = keras.Model(z, keras.layers.Reshape(image_shape)(pixels))
        return VAE(keras.Model(x, [head(h) for head in heads]), decoder, **options)

    return build


@pytest.fixture(scope="session")
def silence_decoder():
    """A function that freezes a dense VAE's decoder, so that every z gives the logit −1 in every pixel."""

    def silence(vae):
        pixels = vae.decoder.get_layer("pixels")
        pixels.kernel.assign(np.zeros(pixels.kernel.shape))
        pixels.bias.assign(np.full(pixels.bias.shape, -1.0))
        vae.decoder.trainable = False
        return vae

    return silence
