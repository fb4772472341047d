import numpy as np

from vae_utils import VAE, build_encoder, load_pretrained
from vae_utils.backend import keras

ops = keras.ops


def noise(x, level, rng):
    return np.clip(x + rng.normal(0, level, size=x.shape), 0, 1)


def noise_by_loop(x, level, rng):
    result = np.empty_like(x)
    for i, image in enumerate(x):
        result[i] = np.minimum(1, np.maximum(0, image + level * rng.standard_normal(image.shape, dtype=np.float32)))
    return result


def noise_in_place(x, level, rng):
    x += level * rng.standard_normal(x.shape)
    return np.clip(x, 0, 1)


def psnr_by_loop(x, x_recon):
    values = []
    for a, b in zip(x, x_recon, strict=True):
        values.append(10 * np.log10(a.size / np.sum((a - b) ** 2)))
    return sum(values) / len(values)


def psnr_by_keras(x, y):
    mse = ops.mean(ops.square(ops.convert_to_tensor(x) - ops.convert_to_tensor(y)), axis=(1, 2, 3))
    return ops.mean(-10 * ops.log(mse) / np.log(10))


def mean_psnr(x, y):
    return np.mean(10 * np.log10(1 / np.mean((x - y) ** 2, axis=(1, 2, 3))))


def linear(x_noisy, x_clean, ridge):
    n = len(x_noisy)
    a = np.concatenate([x_noisy.reshape(n, -1), np.ones((n, 1))], axis=1)
    return np.linalg.inv(a.T @ a + ridge * np.eye(a.shape[1])) @ a.T @ x_clean.reshape(n, -1)


def linear_by_lstsq(x_noisy, x_clean, ridge):
    n, pixels = len(x_noisy), x_noisy[0].size
    a = np.c_[x_noisy.reshape(n, pixels), np.ones(n)]
    a = np.r_[a, np.sqrt(ridge) * np.eye(pixels + 1)]
    c = np.r_[x_clean.reshape(n, pixels), np.zeros((pixels + 1, pixels))]
    return np.linalg.lstsq(a, c, rcond=None)[0]


def linear_by_sklearn(x_noisy, x_clean, ridge):
    from sklearn.linear_model import Ridge

    n = len(x_noisy)
    a = np.c_[x_noisy.reshape(n, -1), np.ones(n)]
    return Ridge(alpha=ridge, fit_intercept=False).fit(a, x_clean.reshape(n, -1)).coef_.T


def without_constant(x_noisy, x_clean, ridge):
    a = x_noisy.reshape(len(x_noisy), -1)
    return np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ x_clean.reshape(len(a), -1))


def denoise(x_noisy, latent_dim=10):
    return load_pretrained(latent_dim, denoising=True).reconstruct(x_noisy.clip(0, 1))


def denoise_by_keras(x_noisy, latent_dim=10):
    vae = load_pretrained(latent_dim, True)
    x = np.where(x_noisy > 1, 1, np.where(x_noisy < 0, 0, x_noisy)).astype("float32")
    return 1 / (1 + np.exp(-np.asarray(vae.decoder(vae.encoder(x)[0]))))


def denoise_first(x_noisy, latent_dim=10):
    return load_pretrained(latent_dim).reconstruct(np.clip(x_noisy, 0, 1))


def denoise_logits(x_noisy, latent_dim=10):
    vae = load_pretrained(latent_dim, denoising=True)
    return vae.decoder(vae.encode(np.clip(x_noisy, 0, 1))[0])


def denoise_unclipped(x_noisy, latent_dim=10):
    return load_pretrained(latent_dim, denoising=True).reconstruct(x_noisy)


def freeze(latent_dim):
    vae = load_pretrained(latent_dim)
    vae.decoder.trainable = False
    return vae


def freeze_layers(latent_dim):
    vae = load_pretrained(latent_dim)
    for layer in vae.decoder.layers:
        layer.trainable = False
    vae.compile("adam")
    return vae


def freeze_copy(latent_dim):
    vae = load_pretrained(latent_dim)
    encoder = build_encoder(latent_dim)
    encoder.set_weights(vae.encoder.get_weights())
    vae.decoder.trainable = False
    return VAE(encoder, vae.decoder)


def freeze_parts(encoder, decoder, denoising=False):
    def prepare(latent_dim):
        vae = load_pretrained(latent_dim, denoising)
        vae.encoder.trainable, vae.decoder.trainable = encoder, decoder
        return vae

    return prepare


def freeze_all(latent_dim):
    vae = load_pretrained(latent_dim)
    vae.trainable = False
    return vae


RIGHT = {
    "add_noise": [noise, noise_by_loop],
    "mean_psnr": [mean_psnr, psnr_by_loop, psnr_by_keras],
    "fit_linear_denoiser": [linear, linear_by_lstsq, linear_by_sklearn],
    "remove_noise": [denoise, denoise_by_keras],
    "freeze_decoder": [freeze, freeze_layers, freeze_copy],
}
WRONG = {
    "add_noise": [
        ("did not clip", lambda x, level, rng: x + level * rng.standard_normal(x.shape)),
        ("all images get the same noise", lambda x, level, rng: np.clip(x + rng.normal(0, level, x.shape[1:]), 0, 1)),
        ("all pixels of an image", lambda x, level, rng: np.clip(x + rng.normal(0, level, (len(x), 1, 1, 1)), 0, 1)),
        ("changes an array", noise_in_place),
    ],
    "mean_psnr": [
        ("PSNR of the mean error", lambda x, y: 10 * np.log10(1 / np.mean((x - y) ** 2))),
        ("sign", lambda x, y: -mean_psnr(x, y)),
        ("the shape () is asked for", lambda x, y: -10 * np.log10(np.mean((x - y) ** 2, axis=(1, 2, 3)))),
        ("twice what it should be", lambda x, y: 2 * mean_psnr(x, y)),
    ],
    "fit_linear_denoiser": [
        ("constant is missing", without_constant),
        ("ridge is missing", lambda x, y, ridge: linear(x, y, 0)),
        ("clean to noisy", lambda x, y, ridge: linear(y, x, ridge)),
        ("transposed", lambda x, y, ridge: linear(x, y, ridge).T),
    ],
    "remove_noise": [
        ("trained on clean digits only", denoise_first),
        ("logits", denoise_logits),
        ("must lie in [0, 1]", denoise_unclipped),
    ],
    "freeze_decoder": [
        ("decoder is still trainable", load_pretrained),
        ("froze the encoder instead", freeze_parts(False, True)),
        ("froze the encoder, too", freeze_all),
        ("start from the first encoder", freeze_parts(True, False, True)),
    ],
}
