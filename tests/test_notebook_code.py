"""What a notebook writes out, the package holds: both give the same numbers."""

import numpy as np
import pytest
from notebook_cells import run_cells, run_definition

from tools import colour, images
from vae_utils import (
    VAE,
    Sampler,
    build_decoder,
    build_encoder,
    kl_divergence,
    pixel_log_odds,
    reconstruction_loss,
)
from vae_utils.backend import keras


@pytest.fixture(scope="module")
def taught():
    """The VAE of notebook 04."""
    names = ("build_encoder", "Sampler", "PixelBias", "build_decoder", "reconstruction_loss", "kl_divergence")
    return run_cells("04", *names, "SmallVAE")


@pytest.mark.parametrize("latent_dim", [2, 7])
def test_the_networks_are_equal(latent_dim, taught, digits):
    log_odds = pixel_log_odds(digits[0])
    for name, ours, options in (
        ("build_encoder", build_encoder, {}),
        ("build_decoder", build_decoder, {"log_odds": log_odds}),
    ):
        parts = []
        for build in (taught[name], ours):
            keras.utils.set_random_seed(0)
            parts.append(build(latent_dim, **options))
        assert images.describe_layers(parts[0]) == images.describe_layers(parts[1])
        for theirs, weights in zip(parts[0].get_weights(), parts[1].get_weights(), strict=True):
            np.testing.assert_array_equal(theirs, weights)


def test_the_losses_and_the_draws_are_equal(taught):
    rng = np.random.default_rng(0)
    x, (z_mean, z_log_var) = rng.random((3, 28, 28, 1), np.float32), rng.normal(size=(2, 5, 4)).astype(np.float32)
    logits = rng.normal(size=x.shape).astype(np.float32)
    np.testing.assert_array_equal(taught["reconstruction_loss"](x, logits), reconstruction_loss(x, logits))
    np.testing.assert_allclose(taught["kl_divergence"](z_mean, z_log_var), kl_divergence(z_mean, z_log_var), rtol=1e-6)
    np.testing.assert_array_equal(taught["Sampler"](3)(z_mean, z_log_var), Sampler(3)(z_mean, z_log_var))


def test_the_small_vae_learns_what_the_packages_vae_learns(taught, digits):
    """Two steps from the same weights with the same draws."""
    x, weights, losses, images = digits[0][:64], [], [], []
    for build in (taught["SmallVAE"], VAE):
        keras.utils.set_random_seed(0)
        model = build(build_encoder(2), build_decoder(2), beta=2.0, seed=3)
        model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
        history = model.fit(x, batch_size=32, shuffle=False, epochs=1, verbose=0)
        losses.append(history.history["loss"][0])
        weights.append([*model.encoder.get_weights(), *model.decoder.get_weights()])
        images.append(np.asarray(model(x)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for theirs, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(*images, atol=1e-5)


def test_the_loss_of_several_answers_is_that_of_the_shipped_colouriser():
    rng = np.random.default_rng(0)
    x, answers = rng.random((5, 32, 32, 3), np.float32), rng.random((5, 10, 32, 32, 3), np.float32)
    soft_minimum = run_definition("08", "soft_minimum", SHARPNESS=colour.SHARPNESS)
    model = colour.ColourTraining(keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten()]))
    shipped = model.compute_loss(x, x, answers)
    assert float(np.mean(soft_minimum(x[:, np.newaxis], answers))) == pytest.approx(float(shipped), rel=1e-5)


def test_a_batch_is_stamped_as_for_the_shipped_watermark_remover():
    x = np.random.default_rng(0).random((6, 32, 32, 3), np.float32)
    stamps, seed = colour.Stamps(("WORD",), 20, 0), np.array([3, 4], np.int32)
    stamp = run_definition("08", "stamp_batch")(stamps.opacity)
    np.testing.assert_allclose(stamp(x, seed), stamps(x, seed), atol=1e-6)
    assert not np.allclose(stamp(x, seed), x)
