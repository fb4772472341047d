"""The theory of notebooks 01 to 03 against independent oracles.

Linear autoencoder against PCA, contractive penalty against finite differences; ELBO, KL divergence and the two
gradient estimators on a toy: z ~ N(0, 1) is hidden, x ~ N(z², 0.5²) is seen; adaptive integration gives its exact
log-likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from vae_utils import losses
from vae_utils.backend import keras

SEVEN = Path(__file__).parent.parent / "notebooks" / "02_seven_autoencoders.ipynb"
NOISE = 0.5
OBSERVATIONS = (-0.5, 0.0, 0.5, 2.0, 4.0)
DRAWS = 200_000
# 80 nodes integrate every polynomial up to degree 159 exactly against the standard normal.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def log_joint(z: np.ndarray, x: float) -> np.ndarray:
    """log p(x, z) of the toy."""
    return stats.norm.logpdf(z) + stats.norm.logpdf(x, z**2, NOISE)


def exact_log_likelihood(x: float) -> float:
    """log ∫ p(x, z) dz by adaptive integration; the integrand is even, so half of it is enough."""
    half, error = integrate.quad(lambda z: np.exp(log_joint(z, x)), 0, 8, epsabs=1e-13, limit=500)
    assert error < 1e-9
    return float(np.log(2 * half))


def elbo(x: float, z_mean: float, std: float) -> float:
    """−reconstruction − KL of a Gaussian guess; the reconstruction by Gauss–Hermite nodes, the KL by the package."""
    log_likelihood = np.sum(WEIGHTS * stats.norm.logpdf(x, (z_mean + std * NODES) ** 2, NOISE))
    return float(log_likelihood - package_kl(z_mean, std))


def package_kl(z_mean: float, std: float) -> float:
    """KL( N(z_mean, std²) ‖ N(0, 1) ) by `vae_utils.losses`."""
    return float(losses.kl_divergence(np.array([[z_mean]]), np.array([[2 * np.log(std)]]))[0])


@pytest.mark.parametrize("x", OBSERVATIONS)
def test_elbo_stays_below_the_exact_log_likelihood(x: float) -> None:
    rng = np.random.default_rng(0)
    guesses = zip(rng.uniform(-3, 3, 100), rng.uniform(0.05, 2, 100), strict=True)
    ceiling = exact_log_likelihood(x)
    assert max(elbo(x, z_mean, std) for z_mean, std in guesses) < ceiling


@pytest.mark.parametrize("x", OBSERVATIONS)
def test_gap_is_the_divergence_from_the_true_posterior(x: float) -> None:
    z_mean, std, ceiling = 0.9, 0.3, exact_log_likelihood(x)

    def divergence_density(z: float) -> float:
        log_q = stats.norm.logpdf(z, z_mean, std)
        return np.exp(log_q) * (log_q - (log_joint(z, x) - ceiling))

    gap, _ = integrate.quad(divergence_density, z_mean - 10 * std, z_mean + 10 * std, limit=500)
    assert elbo(x, z_mean, std) + gap == pytest.approx(ceiling, abs=1e-6)


@pytest.mark.parametrize("x", OBSERVATIONS)
def test_elbo_of_the_true_posterior_is_the_log_likelihood(x: float) -> None:
    z = np.linspace(-8, 8, 20_001)
    log_posterior = log_joint(z, x) - exact_log_likelihood(x)
    q = np.exp(log_posterior)
    assert integrate.trapezoid(q, z) == pytest.approx(1, abs=1e-8)
    bound = integrate.trapezoid(q * (log_joint(z, x) - log_posterior), z)
    assert bound == pytest.approx(exact_log_likelihood(x), abs=1e-8)


@pytest.mark.parametrize(("slope", "noise", "x"), [(1.5, 0.8, 2.0), (-2.0, 1.0, 3.0), (0.1, 0.3, -1.0)])
def test_gaussian_guess_is_exact_for_a_linear_decoder(slope: float, noise: float, x: float) -> None:
    variance = 1 / (1 + slope**2 / noise**2)
    z_mean = variance * slope * x / noise**2
    log_likelihood = np.sum(WEIGHTS * stats.norm.logpdf(x, slope * (z_mean + np.sqrt(variance) * NODES), noise))
    bound = log_likelihood - package_kl(z_mean, np.sqrt(variance))
    exact = stats.norm.logpdf(x, 0, np.hypot(slope, noise))
    assert bound == pytest.approx(exact, abs=1e-6)


def test_missing_one_of_two_equal_hills_costs_log_2() -> None:
    x, means, stds = 4.0, np.linspace(1.8, 2.1, 31), np.linspace(0.05, 0.2, 16)
    best = max(elbo(x, z_mean, std) for z_mean in means for std in stds)
    assert exact_log_likelihood(x) - best == pytest.approx(np.log(2), abs=0.02)


@pytest.mark.parametrize(("z_mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.1), (-2.0, 0.5), (0.5, 2.0)])
def test_kl_divergence_against_monte_carlo(z_mean: float, std: float) -> None:
    draws = np.random.default_rng(0).normal(z_mean, std, DRAWS)
    differences = stats.norm.logpdf(draws, z_mean, std) - stats.norm.logpdf(draws)
    standard_error = differences.std() / np.sqrt(DRAWS)
    assert abs(differences.mean() - package_kl(z_mean, std)) <= 5 * standard_error + 1e-9


def test_kl_divergence_adds_up_over_independent_latents() -> None:
    z_mean, z_log_var = np.random.default_rng(0).normal(size=(2, 1, 4))
    draws = z_mean + np.exp(z_log_var / 2) * np.random.default_rng(1).standard_normal((DRAWS, 4))
    log_q = stats.norm.logpdf(draws, z_mean, np.exp(z_log_var / 2)).sum(axis=1)
    differences = log_q - stats.norm.logpdf(draws).sum(axis=1)
    kl = float(losses.kl_divergence(z_mean, z_log_var)[0])
    assert abs(differences.mean() - kl) <= 5 * differences.std() / np.sqrt(DRAWS)


def toy_estimators(x: float, z_mean: float, std: float) -> dict[str, np.ndarray]:
    """Single-draw gradients of E[−log p(x | z)], columns: with respect to z_mean and std."""
    epsilon = np.random.default_rng(0).standard_normal(DRAWS)
    z = z_mean + std * epsilon
    value = -stats.norm.logpdf(x, z**2, NOISE)
    slope = -2 * z * (x - z**2) / NOISE**2
    score = np.stack([epsilon / std, (epsilon**2 - 1) / std], axis=1)
    return {
        "score function": value[:, None] * score,
        "score function with a baseline": (value - value.mean())[:, None] * score,
        "reparameterisation": slope[:, None] * np.stack([np.ones(DRAWS), epsilon], axis=1),
    }


@pytest.mark.parametrize(("x", "z_mean", "std"), [(2.0, 0.8, 0.4), (0.5, -0.3, 0.2), (-0.5, 0.1, 0.6)])
def test_gradient_estimators_agree_in_mean(x: float, z_mean: float, std: float) -> None:
    # d/dm and d/ds of E[(x − z²)²] / (2 NOISE²), with E z² = m² + s² and E z⁴ = m⁴ + 6 m² s² + 3 s⁴
    exact = np.array(
        [
            (-4 * x * z_mean + 4 * z_mean**3 + 12 * z_mean * std**2) / (2 * NOISE**2),
            (-4 * x * std + 12 * z_mean**2 * std + 12 * std**3) / (2 * NOISE**2),
        ]
    )
    for name, draws in toy_estimators(x, z_mean, std).items():
        standard_error = draws.std(axis=0) / np.sqrt(DRAWS)
        # The baseline is the mean of the same draws, which shifts the mean by a 1/DRAWS part of the noise only.
        assert np.all(np.abs(draws.mean(axis=0) - exact) < 5 * standard_error), name


@pytest.mark.parametrize("std", [0.05, 0.2, 1.0])
def test_variances_of_the_estimators_for_a_square(std: float) -> None:
    z_mean = 1.0
    epsilon = np.random.default_rng(0).standard_normal(DRAWS)
    z = z_mean + std * epsilon
    score = z**2 * epsilon / std
    baseline = (z**2 - z_mean**2 - std**2) * epsilon / std
    assert score.var() == pytest.approx(z_mean**4 / std**2 + 14 * z_mean**2 + 15 * std**2, rel=0.05)
    assert baseline.var() == pytest.approx(8 * z_mean**2 + 10 * std**2, rel=0.05)
    assert (2 * z).var() == pytest.approx(4 * std**2, rel=0.05)
    assert (2 * z).var() < baseline.var() < score.var()


def trained_linear_autoencoder(x: np.ndarray, code_size: int) -> keras.Model:
    """Two matrices without biases, `(n, d) -> (n, code_size) -> (n, d)`, trained by Adam on the squared error."""
    keras.utils.set_random_seed(0)
    linear = {"use_bias": False, "kernel_initializer": "orthogonal"}
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Dense(code_size, **linear, name="encoder"),
            keras.layers.Dense(x.shape[1], **linear, name="decoder"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.02, 400)
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=False)
    for _ in range(400):
        model.train_on_batch(x, x)
    return model


def test_linear_autoencoder_learns_the_subspace_of_pca() -> None:
    """Twenty directions of falling variance, hidden by a rotation; the code has room for five of them."""
    rng = np.random.default_rng(0)
    spreads = np.array([5.0, 4.0, 3.5, 3.0, 2.5, *np.linspace(1.0, 0.1, 15)])
    rotation, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    x = (rng.normal(size=(500, 20)) * spreads @ rotation).astype(np.float32)
    x -= x.mean(axis=0)
    model, pca = trained_linear_autoencoder(x, 5), PCA(5).fit(x)

    error = np.mean((x - np.asarray(model(x))) ** 2)
    best_possible = np.mean((x - pca.inverse_transform(pca.transform(x))) ** 2)
    assert 0.9999 * best_possible <= error < 1.01 * best_possible

    columns = model.get_layer("decoder").get_weights()[0].T
    assert np.degrees(subspace_angles(columns, pca.components_.T)).max() < 3
    too_far = PCA(6).fit(x).components_[[0, 1, 2, 3, 5]].T  # one direction exchanged
    assert np.degrees(subspace_angles(columns, too_far)).max() > 80


@pytest.fixture(scope="module")
def taught() -> dict[str, Callable]:
    """The dense encoder and the contractive penalty of notebook 02, by running their tagged cells alone."""
    space = {"keras": keras, "layers": keras.layers, "ops": keras.ops}
    for cell in nbformat.read(SEVEN, as_version=4).cells:
        if {"dense_encoder", "jacobian_penalty"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, space)
    return space


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_contractive_penalty_equals_finite_differences(scale: float, taught: dict[str, Callable]) -> None:
    """Central differences in float64 of z = sigmoid(x W + b), which know nothing of the formula."""
    keras.utils.set_random_seed(0)
    encoder = taught["dense_encoder"](6, activation="sigmoid")
    rng = np.random.default_rng(0)
    kernel, bias = scale * rng.normal(size=(784, 6)) / 28, rng.normal(size=6)
    encoder.get_layer("code").set_weights([kernel, bias])
    x = rng.random((3, 28, 28, 1)).astype(np.float32)
    penalty = np.asarray(taught["jacobian_penalty"](encoder(x), encoder.get_layer("code").kernel))

    def encode(flat: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(flat @ kernel + bias)))

    np.testing.assert_allclose(encoder(x), encode(x.reshape(3, 784)), atol=1e-5)
    nudge = 1e-4 * np.eye(784)
    for image, value in zip(x.reshape(3, 784).astype(np.float64), penalty, strict=True):
        jacobian = (encode(image + nudge) - encode(image - nudge)) / 2e-4  # (784, 6)
        assert value == pytest.approx(np.sum(jacobian**2), rel=1e-4)
