"""Shared by all tests: a few real digits and a small trained model."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


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
