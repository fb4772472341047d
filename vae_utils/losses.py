"""The losses room: what a VAE minimises, one number per example, in nats.

Sums run over pixels or over latents here; the mean over the batch is taken once, in `VAE.compute_loss`.
"""

from __future__ import annotations

from typing import Any

from vae_utils.backend import keras

ops = keras.ops
Tensor = Any


def reconstruction_loss(x: Tensor, logits: Tensor) -> Tensor:
    """Binary cross-entropy between grey pixels and the decoder's logits, summed over the pixels.

    Per pixel it is −x log p − (1 − x) log(1 − p) with p = sigmoid(logit). Put the sigmoid in, and the
    two logarithms become softplus(logit) − x · logit, which stays finite for every logit.
    Source: the Bernoulli decoder of Kingma and Welling (2014), "Auto-Encoding Variational Bayes",
    appendix C.1; with grey x it is the mean of that loss over images drawn from Bernoulli(x).

    Args:
        x: `(batch, height, width, channels)` in [0, 1], the target.
        logits: the same shape, any real number.

    Returns:
        `(batch,)` nats, at least the pixels' own entropy.

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(x.shape[1:]) != tuple(logits.shape[1:]):
        raise ValueError(f"x and logits must have the same shape, but have {x.shape} and {logits.shape}.")
    per_pixel = ops.softplus(logits) - x * logits
    return ops.sum(per_pixel, axis=tuple(range(1, len(per_pixel.shape))))


def kl_divergence_per_dim(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL( N(z_mean, exp(z_log_var)) ‖ N(0, 1) ) of every latent dimension: ½ (μ² + σ² − log σ² − 1).

    Source: Kingma and Welling (2014), appendix B.

    Args:
        z_mean: `(batch, latent_dim)`.
        z_log_var: `(batch, latent_dim)`, the logarithm of the variance.

    Returns:
        `(batch, latent_dim)` nats, never below 0.
    """
    return 0.5 * (ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1.0)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL divergence of the encoder's Gaussian from the standard normal prior, summed over the latents.

    Args:
        z_mean: `(batch, latent_dim)`.
        z_log_var: `(batch, latent_dim)`, the logarithm of the variance.

    Returns:
        `(batch,)` nats, never below 0. Source: see `kl_divergence_per_dim`.
    """
    return ops.sum(kl_divergence_per_dim(z_mean, z_log_var), axis=-1)
