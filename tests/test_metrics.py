"""Bounds that are bounds, numbers that repeat, terms that add up."""

import numpy as np
import pytest

from vae_utils import (
    active_units,
    importance_weighted_bound,
    kl_per_dimension,
    load_mnist,
    load_pretrained,
    metrics,
    negative_elbo,
    psnr,
    ssim,
    train,
)
from vae_utils.data import add_gaussian_noise
from vae_utils.losses import reconstruction_loss


@pytest.fixture(scope="module")
def trained(digits):
    from vae_utils import VAE, build_decoder, build_encoder
    from vae_utils.backend import keras

    keras.utils.set_random_seed(0)
    vae = VAE(build_encoder(2), build_decoder(2))
    train(vae, digits[0][:1800], digits[0][1800:], epochs=5, live=False)
    return vae


def test_negative_elbo_repeats_and_adds_up(trained, digits):
    x = digits[0][:300]
    first, again = negative_elbo(trained, x, draws=2), negative_elbo(trained, x, draws=2)
    assert first == again
    assert first["loss"] == pytest.approx(first["reconstruction_loss"] + first["kl_loss"])
    assert negative_elbo(trained, x, draws=2, seed=1) != first


def test_negative_elbo_agrees_with_evaluate(trained, digits):
    x = digits[0][:1000]
    trained.compile("adam")
    keras_says = np.mean([trained.evaluate(x, verbose=0, return_dict=True)["loss"] for _ in range(5)])
    assert negative_elbo(trained, x, draws=5)["loss"] == pytest.approx(keras_says, abs=1.0)


def test_the_bound_rises_with_k_and_is_at_least_the_elbo(trained, digits):
    x = digits[0][:200]
    elbo = -negative_elbo(trained, x, draws=50)["loss"]
    bounds = [np.mean([importance_weighted_bound(trained, x, k=k, seed=s) for s in range(3)]) for k in (1, 10, 100)]
    assert bounds[0] == pytest.approx(elbo, abs=0.5)
    assert bounds[0] < bounds[1] < bounds[2]


def test_the_bound_reaches_the_marginal_integrated_on_a_grid():
    """For two dimensions the marginal can be summed over a fine grid: an oracle without any sampling."""
    vae = load_pretrained(2)
    x = load_mnist(limit=10)[1][0][:4]
    step = 0.025
    axis = np.arange(-7, 7, step, dtype=np.float32)
    grid = np.array(np.meshgrid(axis, axis)).reshape(2, -1).T
    log_joint = []
    for z in np.array_split(grid, 80):
        logits = np.array(vae.decoder(z))
        log_prior = -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi)
        log_joint.append([log_prior - np.array(reconstruction_loss(image[np.newaxis], logits)) for image in x])
    exact = np.logaddexp.reduce(np.concatenate(log_joint, axis=1), axis=1) + 2 * np.log(step)
    bound = importance_weighted_bound(vae, x, k=5000)
    assert bound == pytest.approx(exact.mean(), abs=0.2)
    assert -negative_elbo(vae, x, draws=200)["loss"] < exact.mean()


def test_chunks_do_not_change_the_bound(trained, digits, monkeypatch):
    x = digits[0][:7]
    whole = importance_weighted_bound(trained, x, k=2000)
    monkeypatch.setattr(metrics, "DECODED_AT_ONCE", 500)
    assert importance_weighted_bound(trained, x, k=2000) == pytest.approx(whole, abs=0.3)


def test_kl_per_dimension_adds_up(trained, digits):
    x = digits[0][:500]
    per_dimension = kl_per_dimension(trained, x)
    assert per_dimension.shape == (2,)
    assert per_dimension.sum() == pytest.approx(negative_elbo(trained, x)["kl_loss"], rel=1e-4)


def test_a_dimension_that_does_not_listen_is_inactive(trained, digits):
    class Deaf:
        encoder = trained.encoder

        @staticmethod
        def encode(x):
            z_mean, z_log_var = trained.encode(x)
            return z_mean * [1, 0], z_log_var * [1, 0]

    assert active_units(trained, digits[0][:500]).tolist() == [True, True]
    assert active_units(Deaf, digits[0][:500]).tolist() == [True, False]


@pytest.mark.parametrize("measure", [negative_elbo, importance_weighted_bound, kl_per_dimension, active_units])
def test_bad_images(measure, trained, digits):
    with pytest.raises(ValueError, match="empty"):
        measure(trained, digits[0][:0])
    with pytest.raises(ValueError, match="NaN"):
        measure(trained, digits[0][:2] * np.nan)


def test_bad_counts(trained, digits):
    with pytest.raises(ValueError, match="k must be"):
        importance_weighted_bound(trained, digits[0][:2], k=0)
    with pytest.raises(ValueError, match="draws must be"):
        negative_elbo(trained, digits[0][:2], draws=0)


def test_psnr_of_known_errors(digits):
    black = np.zeros((3, 28, 28, 1), dtype="float32")
    np.testing.assert_allclose(psnr(black, black + np.float32(0.1)), 20, atol=1e-5)
    np.testing.assert_allclose(psnr(black, black + 1), 0, atol=1e-9)
    half = black.copy()
    half[:, :14] = 1
    np.testing.assert_allclose(psnr(black, half), 10 * np.log10(2))
    assert np.isposinf(psnr(digits[0][:2], digits[0][:2])).all()


def test_psnr_and_ssim_agree_with_scikit_image_and_the_known_noisy_test_set():
    """Noise of level 0.5 on all test digits: the mean squared error is 0.1156, 9.37 dB."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x = load_mnist()[1][0]
    noisy = add_gaussian_noise(x, 0.5, np.random.default_rng(0))
    per_image = psnr(x, noisy)
    assert per_image.shape == (10_000,)
    assert 10 * np.log10(1 / np.mean(10 ** (-per_image / 10))) == pytest.approx(9.37, abs=0.01)
    assert per_image[7] == pytest.approx(peak_signal_noise_ratio(x[7], noisy[7], data_range=1), rel=1e-6)
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 1}
    one_by_one = [
        structural_similarity(a, b, **settings) for a, b in zip(x[:9, ..., 0], noisy[:9, ..., 0], strict=True)
    ]
    np.testing.assert_allclose(ssim(x[:9], noisy[:9]), one_by_one, atol=1e-5)


def test_ssim_knows_same_and_different(digits):
    x = digits[0][:20]
    np.testing.assert_allclose(ssim(x, x), 1)
    slight, strong = (add_gaussian_noise(x, level, np.random.default_rng(0)) for level in (0.1, 0.8))
    assert (ssim(x, slight) > ssim(x, strong)).all()
    assert (ssim(x, 1 - x) < 0).mean() > 0.9
    colour = np.repeat(x, 3, axis=-1)
    np.testing.assert_allclose(ssim(colour, 1 - colour), ssim(x, 1 - x))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_pairs_of_images_are_checked(measure, digits):
    x = digits[0][:2]
    assert measure(x[:0], x[:0]).shape == (0,)
    assert measure(x[:1], x[1:]).dtype == np.float64
    with pytest.raises(ValueError, match="x_recon must lie in"):
        measure(x, x * 255)
    with pytest.raises(ValueError, match="x_recon holds NaN"):
        measure(x, x * np.nan)
    with pytest.raises(ValueError, match="same shape"):
        measure(x, x[:1])
    with pytest.raises(ValueError, match="x must have the shape"):
        measure(x[..., 0], x)
