"""Bounds that are bounds, PSNR and SSIM as scikit-image computes them, slant and stroke width of drawn shapes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vae_utils import (
    VAE,
    active_units,
    build_decoder,
    build_encoder,
    importance_weighted_bound,
    kl_per_dimension,
    load_mnist,
    metrics,
    negative_elbo,
    pixel_log_odds,
    psnr,
    reconstruction_loss,
    slant,
    ssim,
    thickness,
    train,
)
from vae_utils.backend import keras
from vae_utils.data import add_gaussian_noise


@pytest.fixture(scope="module")
def trained(digits):
    keras.utils.set_random_seed(0)
    vae = VAE(build_encoder(2), build_decoder(2, log_odds=pixel_log_odds(digits[0])))
    train(vae, digits[0][:1800], digits[0][1800:], epochs=4, batch_size=60, live=False)
    return vae


def test_negative_elbo_repeats_and_adds_up(trained, digits):
    x = digits[0][:300]
    first, again = negative_elbo(trained, x, draws=2), negative_elbo(trained, x, draws=2)
    assert first == again != negative_elbo(trained, x, draws=2, seed=1)
    assert first["loss"] == pytest.approx(first["reconstruction_loss"] + first["kl_loss"])


def test_negative_elbo_agrees_with_evaluate(trained, digits):
    x = digits[0][:1000]
    trained.compile(jit_compile=False)
    by_keras = np.mean([trained.evaluate(x, verbose=0, return_dict=True)["loss"] for _ in range(5)])
    assert negative_elbo(trained, x, draws=5)["loss"] == pytest.approx(by_keras, abs=1.0)


def integrate_on_grid(vae, x):
    """ELBO and log marginal `(n,)` of a VAE with two latent dimensions, as sums over a grid of z."""
    step = 0.1  # for Gaussians at least as wide as a step, this sum is the integral to six digits
    axis = np.arange(-6, 6, step, dtype=np.float32)
    z = np.array(np.meshgrid(axis, axis)).reshape(2, -1).T
    logits = vae.decoder(z)
    log_prior = -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi)
    elbo, log_marginal = [], []
    for image, mean, log_var in zip(x, *vae.encode(x), strict=True):
        log_joint = log_prior - np.array(reconstruction_loss(image[np.newaxis], logits))
        log_q = -0.5 * ((z - mean) ** 2 / np.exp(log_var) + log_var).sum(axis=1) - np.log(2 * np.pi)
        elbo.append(np.sum(np.exp(log_q) * (log_joint - log_q)) * step**2)
        log_marginal.append(np.logaddexp.reduce(log_joint.astype(np.float64)) + 2 * np.log(step))
    return np.array(elbo), np.array(log_marginal)


def test_both_bounds_agree_with_integrals_over_the_latent_plane(trained, digits):
    x = digits[0][:4]
    elbo, log_marginal = integrate_on_grid(trained, x)
    assert -negative_elbo(trained, np.repeat(x, 500, axis=0), draws=8)["loss"] == pytest.approx(elbo.mean(), abs=0.4)
    assert importance_weighted_bound(trained, x, k=2000) == pytest.approx(log_marginal.mean(), abs=0.4)
    assert elbo.mean() + 1.5 < log_marginal.mean()


def test_the_bound_rises_with_k_and_starts_at_the_elbo(trained, digits):
    x = digits[0][:200]
    bounds = [np.mean([importance_weighted_bound(trained, x, k=k, seed=s) for s in range(3)]) for k in (1, 10, 50)]
    assert bounds[0] == pytest.approx(-negative_elbo(trained, x, draws=10)["loss"], abs=1.5)
    assert bounds[0] < bounds[1] < bounds[2]


def test_memory_in_parts_does_not_change_the_bound(trained, digits, monkeypatch):
    whole = importance_weighted_bound(trained, digits[0][:7], k=2000)
    monkeypatch.setattr(metrics, "DECODED_AT_ONCE", 500)
    assert importance_weighted_bound(trained, digits[0][:7], k=2000) == pytest.approx(whole, abs=1e-2)


def test_kl_per_dimension_adds_up(trained, digits):
    per_dimension = kl_per_dimension(trained, digits[0][:500])
    assert per_dimension.shape == (2,) and (per_dimension > 0).all()
    assert per_dimension.sum() == pytest.approx(negative_elbo(trained, digits[0][:500])["kl_loss"], rel=1e-4)


def test_a_unit_that_ignores_the_image_is_inactive(trained, digits):
    x = digits[0][:500]
    encoder = keras.models.clone_model(trained.encoder)
    encoder.set_weights(trained.encoder.get_weights())
    kernel, bias = encoder.get_layer("z_mean").get_weights()
    encoder.get_layer("z_mean").set_weights([kernel * [1, 0], bias + 3])
    assert active_units(trained, x).tolist() == [True, True]
    assert active_units(VAE(encoder, trained.decoder), x).tolist() == [True, False]
    variance = trained.encode(x)[0].var(axis=0)
    assert active_units(trained, x, threshold=variance.mean()).tolist() == (variance > variance.mean()).tolist()


@pytest.mark.parametrize("measure", [negative_elbo, importance_weighted_bound, kl_per_dimension, active_units])
def test_bad_images_of_a_measurement_of_a_vae(measure, trained, digits):
    x = digits[0][:2]
    for bad, sentence in (
        (x[:0], "x is empty: give at least one"),
        (x * np.nan, "x must hold finite numbers"),
        (x * 255, "x must lie in"),
        (x[:, 2:], r"must have the shape \(batch, 28, 28, 1\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            measure(trained, bad)


@pytest.mark.parametrize("count", [0, 1.5, True, None])
def test_bad_counts(count, trained, digits):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        importance_weighted_bound(trained, digits[0][:2], k=count)
    with pytest.raises(ValueError, match="draws must be a whole number of at least 1"):
        negative_elbo(trained, digits[0][:2], draws=count)


def test_psnr_of_known_errors(digits):
    black = np.zeros((3, 28, 28, 1), np.float32)
    errors = np.array([0.1, 1.0, 0.5], np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
    np.testing.assert_allclose(psnr(black, black + errors), [20, 0, 20 * np.log10(2)], atol=1e-5)
    assert np.isposinf(psnr(digits[0][:2], digits[0][:2])).all()


def test_psnr_of_chosen_pixels(digits):
    x, rng = digits[0][:4], np.random.default_rng(0)
    x_recon, where = rng.random(x.shape, dtype=np.float32), rng.random(x.shape) < 0.3
    for i in range(4):
        error = np.mean((x[i][where[i]].astype(float) - x_recon[i][where[i]]) ** 2)
        assert psnr(x, x_recon, where)[i] == pytest.approx(-10 * np.log10(error))
    np.testing.assert_allclose(psnr(x, x_recon, np.ones_like(where)), psnr(x, x_recon))
    colours, others = rng.random((2, 2, 8, 8, 3), dtype=np.float32)
    left = np.zeros((2, 8, 8, 1), bool)
    left[:, :, :4] = True
    np.testing.assert_allclose(psnr(colours, others, left), psnr(colours[:, :, :4], others[:, :, :4]))
    assert np.isnan(psnr(x, x_recon, np.zeros_like(where))).all()
    for wrong in (where[0], where.astype(float), where[..., 0]):
        with pytest.raises(ValueError, match="where must be bool of shape"):
            psnr(x, x_recon, wrong)


def draw_pairs(n, shape, seed=0):
    """Smooth random images and the same with noise."""
    rng = np.random.default_rng(seed)
    x = gaussian_filter(rng.random((n, *shape)), (0, 2, 2, 0)).astype(np.float32)
    return x, np.clip(x + rng.normal(0, rng.uniform(0.01, 0.3, (n, 1, 1, 1)), x.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (11, 40, 1)])
def test_psnr_and_ssim_agree_with_scikit_image_one_by_one(shape):
    x, x_recon = draw_pairs(1003, shape)  # more than `ssim` computes at once
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    similarity, ratio = ssim(x, x_recon), psnr(x, x_recon)
    assert similarity.shape == ratio.shape == (1003,)
    for i in (0, 1, 500, 998, 999, 1000, 1001, 1002):
        expected = structural_similarity(x[i], x_recon[i], channel_axis=-1, **settings)
        assert similarity[i] == pytest.approx(expected, abs=1e-5)
        assert ratio[i] == pytest.approx(peak_signal_noise_ratio(x[i], x_recon[i], data_range=1), rel=1e-6)


def test_the_noisy_test_digits_have_their_known_error():
    """Noise of level 0.5 on all test digits: the mean squared error is 0.1156."""
    x = load_mnist()[1][0]
    per_image = psnr(x, add_gaussian_noise(x, 0.5, np.random.default_rng(0)))
    assert per_image.shape == (10_000,)
    assert np.mean(10 ** (-per_image / 10)) == pytest.approx(0.1156, abs=2e-4)


def test_ssim_of_same_opposite_and_noisier_images(digits):
    x = digits[0][:20]
    np.testing.assert_allclose(ssim(x, x), 1)
    slight, strong = (add_gaussian_noise(x, level, np.random.default_rng(0)) for level in (0.1, 0.8))
    assert (ssim(x, slight) > ssim(x, strong)).all()
    assert (ssim(x, 1 - x) < 0).mean() > 0.9


def test_ssim_needs_room_for_its_window():
    x, x_recon = draw_pairs(2, (10, 30, 1))
    with pytest.raises(ValueError, match="SSIM needs images of at least 11 pixels a side"):
        ssim(x, x_recon)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_bad_pairs_of_images(measure, digits):
    x = digits[0][:2]
    assert measure(x[:0], x[:0]).shape == (0,)
    for pair, sentence in (
        ((x, x * 255), "x_recon must lie in"),
        ((x, x * np.nan), "x_recon must hold finite numbers"),
        ((x, x[:1]), "x and x_recon must have the same shape"),
        ((x[..., 0], x), "x must have the shape"),
        ((None, x), "x must hold finite numbers"),
    ):
        with pytest.raises(ValueError, match=sentence):
            measure(*pair)


def draw(inside, size=48, fine=8):
    """`(1, size, size, 1)`: the share of each pixel where `inside(right, up)` holds, in pixels from the centre."""
    place = (np.arange(size * fine) + 0.5) / fine - size / 2
    covered = inside(place[np.newaxis], -place[:, np.newaxis])
    return covered.reshape(size, fine, size, fine).mean(axis=(1, 3)).astype(np.float32)[np.newaxis, ..., np.newaxis]


def draw_bar(degrees):
    """A bar 5 pixels wide and 30 high, sheared by an angle, off the centre."""
    shear = np.tan(np.radians(degrees))
    return draw(lambda right, up: (np.abs(right - 2 - up * shear) < 2.5) & (np.abs(up + 1) < 15))


@pytest.mark.parametrize("degrees", [-40, -10, 0, 5, 30])
def test_slant_of_a_sheared_bar_is_its_angle(degrees):
    bar = draw_bar(degrees)
    assert slant(bar) == pytest.approx(degrees, abs=0.3)
    assert slant(0.3 * bar) == pytest.approx(slant(bar), abs=1e-3)
    assert slant(bar[:, :, ::-1]) == pytest.approx(-slant(bar), abs=1e-6)


@pytest.mark.parametrize(("width", "blur"), [(2, 0), (4, 0), (6, 0), (6, 1.0)])
def test_thickness_of_a_bar_and_of_a_ring(width, blur):
    """A bar of width w and height h has the area wh and the outline 2(w + h); a ring has no ends.

    Between sharp pixels the gradient of a curved edge is a few percent too long; where it is blurred, it is not.
    """
    bar = draw(lambda right, up: (np.abs(right) < width / 2) & (np.abs(up) < 17))
    ring = draw(lambda right, up: np.abs(np.hypot(right, up) - 14) < width / 2)
    bar, ring = (gaussian_filter(image, (0, blur, blur, 0)) for image in (bar, ring))
    assert thickness(bar) == pytest.approx(width * 34 / (width + 34), rel=0.05)
    assert thickness(ring) == pytest.approx(width, rel=0.02 if blur else 0.07)


def test_the_edge_of_the_image_is_an_outline_too():
    assert thickness(np.ones((1, 40, 40, 1))) == pytest.approx(2 * 40**2 / (4 * 40), rel=0.02)


@pytest.mark.parametrize("measure", [slant, thickness])
def test_shape_measures_of_many_colours_and_of_nothing(measure):
    bars = np.concatenate([draw_bar(0), draw_bar(20), np.zeros_like(draw_bar(0))])
    values = measure(bars)
    assert values.shape == (3,) and np.isfinite(values[:2]).all() and np.isnan(values[2])
    np.testing.assert_allclose(measure(np.repeat(bars, 3, axis=-1)), values, rtol=1e-6)
    assert measure(bars[:0]).shape == (0,)
    for bad, sentence in ((bars[..., 0], "x must have the shape"), (bars * 255, "x must lie in"), ("x", "finite")):
        with pytest.raises(ValueError, match=sentence):
            measure(bad)
