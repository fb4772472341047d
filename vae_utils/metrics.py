"""What a model is worth on images it was not trained on: bounds in nats per image, PSNR in dB, SSIM; shape of digits.

Losses follow the grey-level convention of `vae.reconstruction_loss`; they are no log-likelihoods. `x` is always
`(n, height, width, channels)` in [0, 1]; other arrays raise a ValueError.
"""

import math

import numpy as np
from keras import ops

from vae_utils.vae import VAE, check_images, kl_divergence, kl_divergence_per_dim, reconstruction_loss

SSIM_EDGE = 5  # pixels at the edge, where a window of 11 pixels would leave the image
DECODED_AT_ONCE = 10_000  # rows of z per decoder call in the importance-weighted bound


def check_some_images(vae: VAE, x: np.ndarray) -> np.ndarray:
    """`x` as images of the model's shape, at least one; else ValueError."""
    if not len(x := check_images(x, vae.image_shape)):
        raise ValueError("x is empty: give at least one image to measure on.")
    return x


def check_count(value: int, name: str) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, but is {value!r}.")


def negative_elbo(vae: VAE, x: np.ndarray, draws: int = 1, seed: int = 0) -> dict[str, float]:
    """Negative ELBO (the test loss, on test images) and its two terms at β = 1, means over n ≥ 1 images in nats.

    `draws` of z per image, at least 1, are averaged. Returns `loss`, `reconstruction_loss` and `kl_loss`; the first is
    the sum of the others.
    """
    x = check_some_images(vae, x)
    check_count(draws, "draws")
    rng = np.random.default_rng(seed)
    z_mean, z_log_var = vae.encode(x)
    total = 0.0
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        for _ in range(draws):
            epsilon = rng.standard_normal(z_mean[part].shape, dtype=np.float32)
            z = z_mean[part] + np.exp(0.5 * z_log_var[part]) * epsilon
            total += float(ops.sum(reconstruction_loss(x[part], vae.decoder(z))))
    reconstruction, kl = total / (draws * len(x)), float(ops.mean(kl_divergence(z_mean, z_log_var)))
    return {"loss": reconstruction + kl, "reconstruction_loss": reconstruction, "kl_loss": kl}


def importance_weighted_bound(vae: VAE, x: np.ndarray, k: int = 100, seed: int = 0) -> float:
    """Importance-weighted bound: log 1/K Σ p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), mean over n ≥ 1 images in nats.

    At least the ELBO; rises with K = `k` ≥ 1 towards the log marginal. Its negative compares with `negative_elbo`.
    Time grows with n · k, memory only with k.
    Source: Burda, Grosse and Salakhutdinov (2016), "Importance Weighted Autoencoders", equation 8.
    """
    x = check_some_images(vae, x)
    check_count(k, "k")
    rng = np.random.default_rng(seed)
    z_mean, z_log_var = vae.encode(x)
    images_at_once, total = max(1, DECODED_AT_ONCE // k), 0.0
    for start in range(0, len(x), images_at_once):
        part = slice(start, start + images_at_once)
        log_weights = compute_log_weights(vae, x[part], z_mean[part], z_log_var[part], k, rng)
        total += float(np.sum(np.logaddexp.reduce(log_weights, axis=1) - math.log(k)))
    return total / len(x)


def compute_log_weights(
    vae: VAE, x: np.ndarray, z_mean: np.ndarray, z_log_var: np.ndarray, k: int, rng: np.random.Generator
) -> np.ndarray:
    """`(n, k) float64` log p(x|z) + log p(z) − log q(z|x) for k draws of z per image."""
    epsilon = rng.standard_normal((len(x), k, z_mean.shape[1]), dtype=np.float32)
    z = z_mean[:, np.newaxis] + np.exp(0.5 * z_log_var)[:, np.newaxis] * epsilon
    loss = reconstruction_loss(np.repeat(x, k, axis=0), vae.decoder(z.reshape(-1, z.shape[-1])))
    # The constants of the two Gaussians cancel.
    log_prior = -0.5 * np.sum(z.astype(np.float64) ** 2, axis=-1)
    log_posterior = -0.5 * np.sum(epsilon.astype(np.float64) ** 2 + z_log_var[:, np.newaxis], axis=-1)
    return -ops.convert_to_numpy(loss).reshape(len(x), k) + log_prior - log_posterior


def kl_per_dimension(vae: VAE, x: np.ndarray) -> np.ndarray:
    """Mean KL divergence of every latent dimension over n ≥ 1 images: `(latent_dim,)` nats that sum to `kl_loss`."""
    return ops.convert_to_numpy(ops.mean(kl_divergence_per_dim(*vae.encode(check_some_images(vae, x))), axis=0))


def active_units(vae: VAE, x: np.ndarray, threshold: float = 0.01) -> np.ndarray:
    """Which latent dimensions are active, `(latent_dim,) bool`: the variance of `z_mean` over x exceeds `threshold`.

    Source: Burda, Grosse and Salakhutdinov (2016), section 5.2, with their threshold of 0.01.
    """
    return vae.encode(check_some_images(vae, x))[0].var(axis=0) > threshold


def check_pairs(x: np.ndarray, x_recon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, if they are images of one shape; else ValueError."""
    x, x_recon = check_images(x), check_images(x_recon, name="x_recon")
    if x.shape != x_recon.shape:
        raise ValueError(f"x and x_recon must have the same shape, but have {x.shape} and {x_recon.shape}.")
    return x.astype(np.float64), x_recon.astype(np.float64)


def psnr(x: np.ndarray, x_recon: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of every image, 10 log10(1 / MSE): `(n,)` dB, infinite where both are the same.

    `where`, `(n, height, width, 1) bool`, chooses the pixels that count, all if left out; none of an image gives NaN.
    "The PSNR" of a set of images is the mean of these, throughout the course.
    Source: Huynh-Thu and Ghanbari (2008), "Scope of validity of PSNR in image/video quality assessment".
    """
    x, x_recon = check_pairs(x, x_recon)
    where = np.ones((*x.shape[:3], 1), bool) if where is None else np.asarray(where)
    if where.shape != (*x.shape[:3], 1) or where.dtype != bool:
        raise ValueError(f"where must be bool of shape {(*x.shape[:3], 1)}, but is {where.dtype} of {where.shape}.")
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sum((x - x_recon) ** 2, axis=(1, 2, 3), where=where) / where.sum(axis=(1, 2, 3))
        return -10 * np.log10(error / x.shape[-1])


def ssim(x: np.ndarray, x_recon: np.ndarray) -> np.ndarray:
    """Structural similarity of every image, `(n,)`: 1 where both are the same, about 0 where nothing agrees.

    Scikit-image's `structural_similarity` with the settings of the source (Gaussian windows of standard deviation 1.5,
    constants 0.01 and 0.03, range 1), without the outer five pixels, whose windows would reach over the edge.
    Source: Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to SSIM".
    """
    from skimage.metrics import structural_similarity  # here: it takes a second to import

    x, x_recon = check_pairs(x, x_recon)
    if min(x.shape[1:3]) <= 2 * SSIM_EDGE:
        raise ValueError(f"SSIM needs images of at least {2 * SSIM_EDGE + 1} pixels a side, but x has {x.shape}.")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    parts = [np.zeros(0)]
    for start in range(0, len(x), 1000):
        # A thousand images in one strip: no window of the pixels that count reaches over a seam.
        strips = (images[start : start + 1000].reshape(-1, *images.shape[2:]) for images in (x, x_recon))
        _, similarity = structural_similarity(*strips, channel_axis=-1, full=True, **settings)
        similarity = similarity.reshape(-1, *x.shape[1:])[:, SSIM_EDGE:-SSIM_EDGE, SSIM_EDGE:-SSIM_EDGE]
        parts.append(similarity.mean(axis=(1, 2, 3)))
    return np.concatenate(parts)


def slant(x: np.ndarray) -> np.ndarray:
    """Slant of white strokes on black in degrees from the vertical, `(n,)`, to the right positive.

    The angle whose tangent is the regression of the column on the height, both weighted by brightness about the centre
    of mass: Σ ink · right · up / Σ ink · up². An image without extent in height gives NaN. Channels are averaged.
    Source: the deskewing of LeCun, Bottou, Bengio and Haffner (1998), section III.A, by image moments.
    """
    ink = check_images(x).mean(axis=-1, dtype=np.float64)
    row, column = np.mgrid[: ink.shape[1], : ink.shape[2]]
    with np.errstate(invalid="ignore"):
        mass = ink.sum(axis=(1, 2), keepdims=True)
        up = (ink * row).sum(axis=(1, 2), keepdims=True) / mass - row
        right = column - (ink * column).sum(axis=(1, 2), keepdims=True) / mass
        return np.degrees(np.arctan((ink * right * up).sum(axis=(1, 2)) / (ink * up**2).sum(axis=(1, 2))))


def thickness(x: np.ndarray) -> np.ndarray:
    """Mean stroke width of white strokes on black in pixels, `(n,)`: twice the area over the length of the outline.

    The area is the sum of brightness, the length of the outline the sum of the gradient's norm, which for a sharp or a
    blurred edge adds up to its length (the coarea formula). Black images give NaN. Channels are averaged.
    """
    ink = np.pad(check_images(x).mean(axis=-1, dtype=np.float64), ((0, 0), (1, 1), (1, 1)))
    down, right = np.diff(ink, axis=1)[:, :, :-1], np.diff(ink, axis=2)[:, :-1]
    with np.errstate(invalid="ignore"):
        return 2 * ink.sum(axis=(1, 2)) / np.hypot(down, right).sum(axis=(1, 2))
