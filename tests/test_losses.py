"""The losses against independent oracles: closed forms, definitions, Monte Carlo."""

import numpy as np
import pytest

from vae_utils.backend import keras
from vae_utils.losses import kl_divergence, kl_divergence_per_dim, reconstruction_loss

rng = np.random.default_rng(0)


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_reconstruction_loss_is_the_cross_entropy_summed_over_pixels():
    x = rng.random((5, 28, 28, 1)).astype(np.float32)
    logits = rng.normal(0, 4, x.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    loss = to_numpy(reconstruction_loss(x, logits))
    assert loss.shape == (5,)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_reconstruction_loss_equals_keras_own():
    x = rng.random((3, 28, 28, 1)).astype(np.float32)
    logits = rng.normal(0, 2, x.shape).astype(np.float32)
    expected = keras.ops.sum(keras.ops.binary_crossentropy(x, logits, from_logits=True), axis=(1, 2, 3))
    np.testing.assert_allclose(to_numpy(reconstruction_loss(x, logits)), to_numpy(expected), rtol=1e-5)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_reconstruction_loss_is_finite_at_extreme_logits(logit):
    x = np.ones((1, 28, 28, 1), np.float32)
    assert np.isfinite(to_numpy(reconstruction_loss(x, np.full_like(x, logit)))).all()


def test_reconstruction_loss_is_smallest_at_the_pixels_log_odds():
    x = rng.uniform(0.05, 0.95, (1, 28, 28, 1)).astype(np.float32)
    log_odds = np.log(x / (1 - x))
    entropy = -(x * np.log(x) + (1 - x) * np.log(1 - x)).sum()
    at_best = float(reconstruction_loss(x, log_odds)[0])
    assert at_best == pytest.approx(entropy, rel=1e-5)
    assert float(reconstruction_loss(x, log_odds + 0.1)[0]) > at_best


def test_reconstruction_loss_takes_the_mean_over_bernoulli_draws():
    x = rng.random((1, 28, 28, 1)).astype(np.float32)
    logits = rng.normal(0, 1, x.shape).astype(np.float32)
    draws = (rng.random((20_000, 28, 28, 1)) < x).astype(np.float32)
    binary = to_numpy(reconstruction_loss(draws, np.broadcast_to(logits, draws.shape)))
    grey = float(reconstruction_loss(x, logits)[0])
    assert abs(binary.mean() - grey) < 4 * binary.std() / np.sqrt(len(draws))


def test_reconstruction_loss_refuses_different_shapes():
    with pytest.raises(ValueError, match="same shape"):
        reconstruction_loss(np.zeros((2, 28, 28, 1)), np.zeros((2, 28, 28, 3)))


@pytest.mark.parametrize("latent_dim", [1, 2, 10])
def test_kl_divergence_closed_forms(latent_dim):
    zero, one = np.zeros((3, latent_dim), np.float32), np.ones((3, latent_dim), np.float32)
    np.testing.assert_array_equal(to_numpy(kl_divergence(zero, zero)), 0)
    np.testing.assert_allclose(to_numpy(kl_divergence(one, zero)), latent_dim / 2)


def test_kl_divergence_against_monte_carlo():
    z_mean, z_log_var = np.array([[0.7, -1.3]]), np.array([[-1.2, 0.4]])
    z = z_mean + np.exp(z_log_var / 2) * rng.standard_normal((400_000, 2))
    log_ratio = (-0.5 * z_log_var - (z - z_mean) ** 2 / (2 * np.exp(z_log_var)) + z**2 / 2).sum(axis=1)
    error = log_ratio.std() / np.sqrt(len(z))
    assert abs(float(kl_divergence(z_mean, z_log_var)[0]) - log_ratio.mean()) < 4 * error


def test_kl_divergence_adds_its_dimensions_and_is_never_negative():
    z_mean = rng.normal(size=(100, 4)).astype(np.float32)
    z_log_var = rng.normal(size=(100, 4)).astype(np.float32)
    per_dim = to_numpy(kl_divergence_per_dim(z_mean, z_log_var))
    assert per_dim.shape == (100, 4) and per_dim.min() >= 0
    np.testing.assert_allclose(to_numpy(kl_divergence(z_mean, z_log_var)), per_dim.sum(axis=1), rtol=1e-5)
