"""The theory of notebooks 01 to 03 and 09, in their own cells, against independent oracles.

ELBO and KL divergence on notebook 03's toy, where z ~ N(0, 1) is hidden and x ~ N(z², 0.5²) is seen; notebook 09's
gradient estimators, and its central differences against automatic differentiation;
PCA against scikit-learn; the contractive penalty against finite differences.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from notebook_cells import run_cells
from scipy import integrate, stats
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from vae_utils import build_decoder, kl_divergence, kl_divergence_per_dim, reconstruction_loss
from vae_utils.backend import keras

OBSERVATIONS = (-0.5, 0.0, 0.5, 2.0, 4.0)
# 80 nodes integrate every polynomial up to degree 159 exactly against the standard normal.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@pytest.fixture(scope="module")
def toy():
    """Notebook 03's definitions."""
    names = ("SEED", "NOISE", "normal_log_density", "log_joint", "log_marginal", "elbo_of_gaussian")
    names += ("kl_to_posterior", "gaussian_kl")
    return SimpleNamespace(**run_cells("03", *names))


@pytest.fixture(scope="module")
def estimators():
    """Notebook 09's gradient estimators."""
    names = ("SEED", "with_baseline", "log_likelihood", "loss_at", "slope_at")
    return SimpleNamespace(**run_cells("09", *names))


def integrate_marginal(x):
    """log p(x) as a sum over a fine grid of z."""
    z = np.linspace(-8, 8, 200_001)
    return np.log(integrate.trapezoid(stats.norm.pdf(z) * stats.norm.pdf(x, z**2, 0.5), z))


def package_kl(z_mean, std):
    """KL( N(z_mean, std²) ‖ N(0, 1) ) by the package."""
    return float(kl_divergence(np.array([[z_mean]]), np.array([[2 * np.log(std)]]))[0])


@pytest.mark.parametrize("x", OBSERVATIONS)
def test_the_marginal_and_the_elbo_are_their_integrals(x, toy):
    assert toy.log_marginal(x) == pytest.approx(integrate_marginal(x), abs=1e-6)
    rng, log_marginal = np.random.default_rng(0), integrate_marginal(x)
    for z_mean, std in zip(rng.uniform(-3, 3, 100), rng.uniform(0.05, 2, 100), strict=True):
        likelihood = np.sum(WEIGHTS * stats.norm.logpdf(x, (z_mean + std * NODES) ** 2, 0.5))
        elbo = toy.elbo_of_gaussian(z_mean, std, x)
        assert elbo == pytest.approx(likelihood - package_kl(z_mean, std), abs=1e-6, rel=1e-5)
        assert elbo < log_marginal


@pytest.mark.parametrize("x", OBSERVATIONS)
def test_the_gap_is_the_divergence_from_the_true_posterior(x, toy):
    z_mean, std, log_marginal = 0.9, 0.3, integrate_marginal(x)

    def density(z):
        log_q = stats.norm.logpdf(z, z_mean, std)
        log_posterior = stats.norm.logpdf(z) + stats.norm.logpdf(x, z**2, 0.5) - log_marginal
        return np.exp(log_q) * (log_q - log_posterior)

    exact, _ = integrate.quad(density, z_mean - 10 * std, z_mean + 10 * std, limit=500)
    log_q = stats.norm.logpdf(toy.Z_GRID, z_mean, std)
    assert toy.kl_to_posterior(log_q, x) == pytest.approx(exact, abs=1e-5)
    assert toy.elbo_of_gaussian(z_mean, std, x) + exact == pytest.approx(log_marginal, abs=1e-5)


@pytest.mark.parametrize(("slope", "noise", "x"), [(1.5, 0.8, 2.0), (-2.0, 1.0, 3.0), (0.1, 0.3, -1.0)])
def test_a_gaussian_posterior_is_exact_for_a_linear_decoder(slope, noise, x):
    variance = 1 / (1 + slope**2 / noise**2)
    z = variance * slope * x / noise**2 + np.sqrt(variance) * NODES
    bound = np.sum(WEIGHTS * stats.norm.logpdf(x, slope * z, noise)) - package_kl(np.sum(WEIGHTS * z), variance**0.5)
    assert bound == pytest.approx(stats.norm.logpdf(x, 0, np.hypot(slope, noise)), abs=1e-6)


@pytest.mark.parametrize(("z_mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.1), (-2.0, 0.5), (0.5, 2.0)])
def test_the_kl_divergence_of_two_gaussians(z_mean, std, toy):
    z = z_mean + std * NODES
    exact = np.sum(WEIGHTS * (stats.norm.logpdf(z, z_mean, std) - stats.norm.logpdf(z)))
    assert toy.gaussian_kl(z_mean, 2 * np.log(std)) == pytest.approx(exact, abs=1e-9)
    assert package_kl(z_mean, std) == pytest.approx(exact, abs=1e-6)


def test_the_kl_divergence_adds_up_over_independent_latents():
    z_mean, z_log_var = np.random.default_rng(0).normal(size=(2, 1, 4))
    draws = z_mean + np.exp(z_log_var / 2) * np.random.default_rng(1).standard_normal((200_000, 4))
    log_q = stats.norm.logpdf(draws, z_mean, np.exp(z_log_var / 2)).sum(axis=1)
    differences = log_q - stats.norm.logpdf(draws).sum(axis=1)
    standard_error = differences.std() / np.sqrt(200_000)
    assert float(kl_divergence(z_mean, z_log_var)[0]) == pytest.approx(differences.mean(), abs=5 * standard_error)
    assert np.sum(kl_divergence_per_dim(z_mean, z_log_var)) == pytest.approx(differences.mean(), abs=5 * standard_error)


def test_gradient_estimators_of_a_square_have_the_mean_and_variance_of_their_integrals(estimators):
    """E[z²] has the gradient 2 μ = 2; the notebook draws three estimators of it and derives their variances."""
    z = 1 + estimators.sigmas[:, np.newaxis] * NODES
    score = NODES / estimators.sigmas[:, np.newaxis]
    exact = {"score function": z**2 * score, "reparameterised": 2 * z}
    exact["with a baseline"] = (z**2 - z**2 @ WEIGHTS[:, np.newaxis]) * score
    assert set(exact) == set(estimators.formulae)
    drawn = {"score function": estimators.score, "reparameterised": estimators.slopes}
    drawn["with a baseline"] = estimators.with_baseline
    for name, values in exact.items():
        draws = drawn[name]
        variance = (values - 2) ** 2 @ WEIGHTS
        np.testing.assert_allclose(values @ WEIGHTS, 2, err_msg=name)
        np.testing.assert_allclose(estimators.formulae[name], variance, err_msg=name)
        np.testing.assert_allclose(draws.var(axis=1), variance, rtol=0.05, err_msg=name)
        assert (np.abs(draws.mean(axis=1) - 2) < 5 * np.sqrt(variance / draws.shape[1])).all(), name


def test_the_gradient_by_nudging_is_the_gradient(estimators, digits):
    keras.utils.set_random_seed(0)
    decoder, x = build_decoder(2), digits[0][:1]
    z = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable := tf.constant(z))
        loss = reconstruction_loss(np.repeat(x, 5, axis=0), decoder(variable))
    np.testing.assert_allclose(estimators.loss_at(z, decoder, x), loss, rtol=1e-5)
    np.testing.assert_allclose(estimators.slope_at(z, decoder, x), tape.gradient(loss, variable), rtol=0.02, atol=0.1)


def test_principal_directions_are_those_of_scikit_learn(digits):
    taught = run_cells("01", "principal_directions", "pca_reconstruct")
    x = digits[0]
    directions, variances = taught["principal_directions"](x)
    pca = PCA(8).fit(x.reshape(len(x), -1))
    np.testing.assert_allclose(variances[:8], pca.explained_variance_ * (1 - 1 / len(x)), rtol=1e-3)
    assert np.degrees(subspace_angles(directions[:, :8], pca.components_.T)).max() < 0.5
    expected = pca.inverse_transform(pca.transform(x.reshape(len(x), -1))).reshape(x.shape)
    np.testing.assert_allclose(
        taught["pca_reconstruct"](x, x.mean(axis=0), directions[:, :8]), expected, atol=0.01, rtol=0
    )


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_contractive_penalty_equals_finite_differences(scale):
    """Central differences in float64 of z = sigmoid(x W + b), which know nothing of the formula."""
    taught = run_cells("02", "dense_encoder", "jacobian_penalty")
    encoder = taught["dense_encoder"](6, activation="sigmoid")
    rng = np.random.default_rng(0)
    kernel, bias = scale * rng.normal(size=(784, 6)) / 28, rng.normal(size=6)
    encoder.get_layer("code").set_weights([kernel, bias])
    x = rng.random((3, 28, 28, 1)).astype(np.float32)
    penalty = np.asarray(taught["jacobian_penalty"](encoder(x), encoder.get_layer("code").kernel))

    def encode(flat):
        return 1 / (1 + np.exp(-(flat @ kernel + bias)))

    np.testing.assert_allclose(encoder(x), encode(x.reshape(3, 784)), atol=1e-5)
    nudge = 1e-4 * np.eye(784)
    for image, value in zip(x.reshape(3, 784).astype(np.float64), penalty, strict=True):
        jacobian = (encode(image + nudge) - encode(image - nudge)) / 2e-4  # (784, 6)
        assert value == pytest.approx(np.sum(jacobian**2), rel=1e-4)
