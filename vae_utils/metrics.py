"""The metrics room: what a model is worth on images it never saw, in nats per image, or in dB for a denoiser.

All losses follow the grey-level convention of `losses.reconstruction_loss`: grey pixels as targets of a
Bernoulli decoder. That has no normalising constant, so these are losses and bounds, not likelihoods.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vae_utils.backend import keras
from vae_utils.data import check_images
from vae_utils.losses import kl_divergence, kl_divergence_per_dim, reconstruction_loss

ops = keras.ops

SSIM_EDGE = 5  # pixels at the edge that a window of 11 pixels around them would leave
DECODED_AT_ONCE = 10_000  # rows of z per decoder call in the importance-weighted bound, which bounds its memory


def _check_count(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, but is {value!r}.")


def _check_some_images(vae: Any, x: np.ndarray) -> np.ndarray:
    x = check_images(x, "x", vae.encoder.inputs[0].shape[-1])
    if not len(x):
        raise ValueError("x is empty: give at least one image to measure on.")
    return x


def negative_elbo(vae: Any, x: np.ndarray, draws: int = 1, seed: int = 0) -> dict[str, float]:
    """Negative ELBO of the images (the test loss, if they are test images) and its two terms, at β = 1.

    Args:
        vae: a `VAE`.
        x: `(n, 28, 28, channels)` in [0, 1], n ≥ 1.
        draws: draws of z per image, averaged.
        seed: seed of the draws; the same seed gives the same numbers.

    Returns:
        `loss`, `reconstruction_loss`, `kl_loss`: means over the images, nats; the first is the sum of the others.

    Raises:
        ValueError: x breaks the image contract or is empty, or `draws` is below 1.
    """
    x = _check_some_images(vae, x)
    _check_count(draws, "draws")
    rng = np.random.default_rng(seed)
    reconstruction = 0.0
    z_mean, z_log_var = vae.encode(x)
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        for _ in range(draws):
            epsilon = rng.standard_normal(z_mean[part].shape, dtype=np.float32)
            z = z_mean[part] + np.exp(0.5 * z_log_var[part]) * epsilon
            reconstruction += float(ops.sum(reconstruction_loss(x[part], vae.decoder(z))))
    reconstruction /= draws * len(x)
    kl = float(ops.mean(kl_divergence(z_mean, z_log_var)))
    return {"loss": reconstruction + kl, "reconstruction_loss": reconstruction, "kl_loss": kl}


def importance_weighted_bound(vae: Any, x: np.ndarray, k: int = 100, seed: int = 0) -> float:
    """Importance-weighted bound with K draws: log 1/K Σ p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), mean over images.

    It is at least the ELBO, rises with K, and reaches the log marginal as K grows.
    Source: Burda, Grosse and Salakhutdinov (2016), "Importance Weighted Autoencoders", equation 8.

    Args:
        vae: a `VAE`.
        x: `(n, 28, 28, channels)` in [0, 1], n ≥ 1.
        k: draws per image, at least 1; time grows with n · k, memory does not.
        seed: seed of the draws.

    Returns:
        nats per image under the grey-level convention; larger is better. Its negative compares with `negative_elbo`.

    Raises:
        ValueError: x breaks the image contract or is empty, or `k` is below 1.
    """
    x = _check_some_images(vae, x)
    _check_count(k, "k")
    rng = np.random.default_rng(seed)
    z_mean, z_log_var = vae.encode(x)
    images_at_once = max(1, DECODED_AT_ONCE // k)
    draws_at_once = min(k, DECODED_AT_ONCE)
    total = 0.0
    for start in range(0, len(x), images_at_once):
        part = slice(start, start + images_at_once)
        log_weights = [
            _log_weights(vae, x[part], z_mean[part], z_log_var[part], min(draws_at_once, k - done), rng)
            for done in range(0, k, draws_at_once)
        ]
        total += float(np.sum(np.logaddexp.reduce(np.concatenate(log_weights, axis=1), axis=1) - math.log(k)))
    return total / len(x)


def _log_weights(
    vae: Any, x: np.ndarray, z_mean: np.ndarray, z_log_var: np.ndarray, k: int, rng: np.random.Generator
) -> np.ndarray:
    """`(n, k) float64` log p(x|z) + log p(z) − log q(z|x) for k draws of z per image."""
    epsilon = rng.standard_normal((len(x), k, z_mean.shape[1]), dtype=np.float32)
    z = z_mean[:, np.newaxis] + np.exp(0.5 * z_log_var)[:, np.newaxis] * epsilon
    logits = vae.decoder(z.reshape(-1, z.shape[-1]))
    repeated = np.repeat(x, k, axis=0)
    log_likelihood = -ops.convert_to_numpy(reconstruction_loss(repeated, logits)).reshape(len(x), k)
    # The constants of the two Gaussians cancel.
    log_prior = -0.5 * np.sum(z.astype(np.float64) ** 2, axis=-1)
    log_posterior = -0.5 * np.sum(epsilon.astype(np.float64) ** 2 + z_log_var[:, np.newaxis], axis=-1)
    return log_likelihood + log_prior - log_posterior


def kl_per_dimension(vae: Any, x: np.ndarray) -> np.ndarray:
    """Mean KL divergence of every latent dimension: how many nats of information each carries.

    Args:
        vae: a `VAE`.
        x: `(n, 28, 28, channels)` in [0, 1], n ≥ 1.

    Returns:
        `(latent_dim,) float32` nats per image; they add up to `kl_loss`.

    Raises:
        ValueError: x breaks the image contract or is empty.
    """
    z_mean, z_log_var = vae.encode(_check_some_images(vae, x))
    return ops.convert_to_numpy(ops.mean(kl_divergence_per_dim(z_mean, z_log_var), axis=0))


def active_units(vae: Any, x: np.ndarray, threshold: float = 0.01) -> np.ndarray:
    """Which latent dimensions respond to the image: the variance of `z_mean` over the images exceeds `threshold`.

    Source: Burda, Grosse and Salakhutdinov (2016), section 5.2, with their threshold of 0.01.

    Args:
        vae: a `VAE`.
        x: `(n, 28, 28, channels)` in [0, 1], n ≥ 2 to be of use.
        threshold: variance above which a dimension counts.

    Returns:
        `(latent_dim,) bool`.

    Raises:
        ValueError: x breaks the image contract or is empty.
    """
    z_mean, _ = vae.encode(_check_some_images(vae, x))
    return z_mean.var(axis=0) > threshold


def _check_pairs(x: np.ndarray, x_recon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as images of our contract, in float64, if they are of one shape."""
    channels = np.shape(x)[-1] if np.ndim(x) == 4 and np.shape(x)[-1] == 3 else 1
    x, x_recon = check_images(x, "x", channels), check_images(x_recon, "x_recon", channels)
    if x.shape != x_recon.shape:
        raise ValueError(f"x and x_recon must have the same shape, but have {x.shape} and {x_recon.shape}.")
    return x.astype(np.float64), x_recon.astype(np.float64)


def psnr(x: np.ndarray, x_recon: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every image: 10 log10(1 / mean squared error), the peak being 1.

    The mean over images of these is not the PSNR of their mean squared error, which is never above it.
    Source: Huynh-Thu and Ghanbari (2008), "Scope of validity of PSNR in image/video quality assessment".

    Args:
        x: `(n, 28, 28, channels)` in [0, 1], 1 or 3 channels, the clean images; n may be 0.
        x_recon: the same shape, what is compared with them.

    Returns:
        `(n,) float64` dB, larger is better; infinite where the two images are the same.

    Raises:
        ValueError: an array breaks the image contract, or the shapes differ.
    """
    x, x_recon = _check_pairs(x, x_recon)
    error = np.mean((x - x_recon) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def ssim(x: np.ndarray, x_recon: np.ndarray) -> np.ndarray:
    """Structural similarity of every image: do brightness, contrast and pattern agree, window by window?

    Scikit-image's `structural_similarity` with the settings of the source: Gaussian windows of standard
    deviation 1.5 (11×11 pixels), constants 0.01 and 0.03, data range 1. It leaves out the outer five pixels,
    whose windows would reach over the edge.
    Source: Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to
    structural similarity".

    Args:
        x: `(n, 28, 28, channels)` in [0, 1], 1 or 3 channels, the clean images; n may be 0.
        x_recon: the same shape, what is compared with them.

    Returns:
        `(n,) float64`, 1 where the two images are the same, about 0 where they have nothing in common.

    Raises:
        ValueError: an array breaks the image contract, or the shapes differ.
    """
    from skimage.metrics import structural_similarity

    x, x_recon = _check_pairs(x, x_recon)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    parts = [np.zeros(0)]
    for start in range(0, len(x), 1000):
        # A thousand images in one strip: no window of the pixels that count reaches over a seam.
        strips = (images[start : start + 1000].reshape(-1, *images.shape[2:]) for images in (x, x_recon))
        _, similarity = structural_similarity(*strips, channel_axis=-1, full=True, **settings)
        similarity = similarity.reshape(-1, *x.shape[1:])[:, SSIM_EDGE:-SSIM_EDGE, SSIM_EDGE:-SSIM_EDGE]
        parts.append(similarity.mean(axis=(1, 2, 3)))
    return np.concatenate(parts)
