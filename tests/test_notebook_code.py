"""What a notebook writes out, the package holds: both give the same numbers."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

from vae_utils import VAE, build_decoder, build_encoder, losses, models
from vae_utils.backend import keras

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "04_convolutional_vae.ipynb"
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def taught():
    """The definitions of notebook 04, by running its tagged cells alone."""
    names = {"encoder", "sampler", "pixel_bias", "decoder", "reconstruction_loss", "kl_divergence", "small_vae"}
    space = {"keras": keras, "np": np, "layers": keras.layers, "ops": keras.ops}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if names & set(cell.metadata.get("tags", [])):
            exec(cell.source, space)
    return space


@pytest.mark.parametrize(("builder", "ours"), [("build_encoder", build_encoder), ("build_decoder", build_decoder)])
@pytest.mark.parametrize("latent_dim", [2, 7])
def test_the_networks_are_equal(builder, ours, latent_dim, taught):
    parts = []
    for build in (taught[builder], ours):
        keras.utils.set_random_seed(0)
        parts.append(build(latent_dim))
    assert models.layer_table(parts[0]) == models.layer_table(parts[1])
    assert all(np.array_equal(a, b) for a, b in zip(parts[0].get_weights(), parts[1].get_weights(), strict=True))


def test_the_losses_are_equal(taught):
    x = rng.random((3, 28, 28, 1)).astype(np.float32)
    logits = rng.normal(size=x.shape).astype(np.float32)
    z_mean, z_log_var = rng.normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(taught["reconstruction_loss"](x, logits), losses.reconstruction_loss(x, logits))
    np.testing.assert_array_equal(taught["kl_divergence"](z_mean, z_log_var), losses.kl_divergence(z_mean, z_log_var))


def test_the_small_vae_has_the_packages_loss(taught):
    x = rng.random((6, 28, 28, 1)).astype(np.float32)
    encoder, decoder = build_encoder(2), build_decoder(2)
    small = taught["SmallVAE"](encoder, decoder, beta=2.0, seed=3)
    package = VAE(encoder, decoder, beta=2.0, seed=3)
    assert float(small.compute_loss(x, training=False)) == pytest.approx(float(package.compute_loss(x, training=False)))
    np.testing.assert_array_equal(small(x), package(x))
