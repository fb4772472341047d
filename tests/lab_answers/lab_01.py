import numpy as np

from vae_utils import psnr
from vae_utils.backend import keras

layers, ops = keras.layers, keras.ops


# --- measure_psnr
def psnr_numpy(x, x_recon, peak=1.0):
    mse = np.mean((x - x_recon) ** 2, axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(peak**2 / mse)))


def psnr_loop(x, x_recon, peak=1.0):
    total = 0.0
    for a, b in zip(x, x_recon, strict=True):
        total += 20 * np.log10(peak) - 10 * np.log10(((a - b) ** 2).mean())
    return total / len(x)


def psnr_ops(x, x_recon, peak=1.0):
    error = ops.mean(ops.square(x - x_recon), axis=(1, 2, 3))
    return ops.mean(20 * ops.log10(peak / ops.sqrt(error)))


def psnr_of_mean(x, x_recon, peak=1.0):
    return 10 * np.log10(peak**2 / np.mean((x - x_recon) ** 2))


def psnr_natural(x, x_recon, peak=1.0):
    return np.mean(10 * np.log(peak**2 / np.mean((x - x_recon) ** 2, axis=(1, 2, 3))))


def psnr_each(x, x_recon, peak=1.0):
    return 10 * np.log10(peak**2 / np.mean((x - x_recon) ** 2, axis=(1, 2, 3)))


def psnr_negative(x, x_recon, peak=1.0):
    return np.mean(10 * np.log10(np.mean((x - x_recon) ** 2, axis=(1, 2, 3)) / peak**2))


# --- pca_reconstruct
def pca_svd(x_fit, x, k):
    rows = x_fit.reshape(len(x_fit), -1)
    mean = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows - mean, full_matrices=False)
    z = (x.reshape(len(x), -1) - mean) @ directions[:k].T
    return (mean + z @ directions[:k]).reshape(x.shape)


def pca_eigh(x_fit, x, k):
    mean = x_fit.mean(axis=0)
    centred = (x_fit - mean).reshape(len(x_fit), -1)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    w = vectors[:, -k:]
    return mean + np.stack([(w @ (w.T @ (image - mean).ravel())).reshape(mean.shape) for image in x])


def pca_sklearn(x_fit, x, k):
    from sklearn.decomposition import PCA

    pca = PCA(k, svd_solver="full").fit(x_fit.reshape(len(x_fit), -1))
    return pca.inverse_transform(pca.transform(x.reshape(len(x), -1))).reshape(x.shape)


def pca_with(mean_of=lambda x_fit, x: x_fit, choose=lambda vt, k: vt[:k].T, centre=True, back=True):
    def wrong(x_fit, x, k):
        fit, rows = (a.reshape(len(a), -1) for a in (x_fit, x))
        mean = mean_of(fit, rows).mean(axis=0) * centre
        w = choose(np.linalg.svd(fit - mean, full_matrices=False)[2], k)
        return (mean * back + (rows - mean) @ w @ w.T).reshape(x.shape)

    return wrong


# --- run_autoencoder
def run_numpy(x, encoder, decoder):
    h = x.reshape(x.shape[0], -1)
    for a, b in encoder[:-1]:
        h = np.maximum(h @ a + b, 0)
    z = h @ encoder[-1][0] + encoder[-1][1]
    h = z
    for a, b in decoder[:-1]:
        h = np.where(h @ a + b > 0, h @ a + b, 0)
    logits = np.matmul(h, decoder[-1][0]) + decoder[-1][1]
    return z, (1 / (1 + np.exp(-logits))).reshape(x.shape)


def run_ops(x, encoder, decoder):
    h = ops.reshape(x, (len(x), -1))
    for number, (a, b) in enumerate(encoder):
        h = ops.add(ops.matmul(h, a), b)
        h = ops.relu(h) if number + 1 < len(encoder) else h
    z = h
    for number, (a, b) in enumerate(decoder):
        h = ops.add(ops.matmul(h, a), b)
        h = ops.relu(h) if number + 1 < len(decoder) else ops.sigmoid(h)
    return z, ops.reshape(h, x.shape)


def run_with(hidden=lambda a: np.maximum(a, 0), code=lambda a: a, output=lambda a: 1 / (1 + np.exp(-a)), image=True):
    def wrong(x, encoder, decoder):
        h = x.reshape(len(x), -1)
        for a, b in encoder[:-1]:
            h = hidden(h @ a + b)
        z = h = code(h @ encoder[-1][0] + encoder[-1][1])
        for a, b in decoder[:-1]:
            h = hidden(h @ a + b)
        h = output(h @ decoder[-1][0] + decoder[-1][1])
        return z, h.reshape(x.shape) if image else h

    return wrong


# --- build_autoencoder
def build(hidden=(128, 64), activation="gelu", code=None, output="sigmoid", size=None, flat=False, back=None):
    def builder(code_size):
        n = size or code_size
        back_layers = [layers.Dense(units, activation) for units in (hidden[::-1] if back is None else back)]
        encoder = [layers.Dense(units, activation) for units in hidden]
        encoder = [keras.Input((28, 28, 1)), layers.Flatten(), *encoder, layers.Dense(n, code)]
        decoder = [keras.Input((n,)), *back_layers, layers.Dense(784, output)]
        return keras.Sequential(encoder), keras.Sequential([*decoder, *([] if flat else [layers.Reshape((28, 28, 1))])])

    return builder


def build_convolutional(code_size):
    x = keras.Input((28, 28, 1))
    h = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    h = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(h)
    encoder = keras.Model(x, layers.Dense(code_size)(layers.Flatten()(h)))
    z = keras.Input((code_size,))
    h = layers.Reshape((7, 7, 16))(layers.Dense(784, "relu")(z))
    h = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(h)
    return encoder, keras.Model(z, layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(h))


def build_lazy(code_size):
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(50, "tanh"), layers.Dense(code_size)])
    decoder = keras.Sequential(
        [layers.Dense(50, "relu"), layers.Dense(784, "hard_sigmoid"), layers.Reshape((28, 28, 1))]
    )
    return encoder, decoder


# --- fraction_unexplained
def fraction_numpy(x, x_recon):
    return np.sum((x - x_recon) ** 2) / np.sum((x - x.mean(axis=0)) ** 2)


def fraction_means(x, x_recon):
    rows, recon = (a.reshape(len(a), -1) for a in (x, x_recon))
    return np.mean((rows - recon) ** 2) / rows.var(axis=0).mean()


def fraction_loop(x, x_recon):
    average, error, total = sum(x) / len(x), 0.0, 0.0
    for a, b in zip(x, x_recon, strict=True):
        error += np.linalg.norm(a - b) ** 2
        total += np.linalg.norm(a - average) ** 2
    return error / total


RIGHT = {
    "measure_psnr": [psnr_numpy, psnr_loop, psnr_ops],
    "pca_reconstruct": [pca_svd, pca_eigh, pca_sklearn],
    "run_autoencoder": [run_numpy, run_ops],
    "build_autoencoder": [build(), build((100,), "relu"), build((64, 64), "sigmoid"), build_convolutional, build_lazy],
    "fraction_unexplained": [fraction_numpy, fraction_means, fraction_loop],
}
WRONG = {
    "measure_psnr": [
        ("PSNR of the mean error", psnr_of_mean),
        ("natural: decibels", psnr_natural),
        ("axis of your sums", psnr_each),
        ("sign", psnr_negative),
        ("it stops with ValueError", lambda x, x_recon, peak: psnr(x, x_recon).mean()),
    ],
    "pca_reconstruct": [
        ("rows are the directions", pca_with(choose=lambda vt, k: vt[:, :k])),
        ("nothing was centred", pca_with(centre=False)),
        ("fitted to x instead", lambda x_fit, x, k: pca_svd(x, x, k)),
        ("values are not", pca_with(back=False)),
        ("shape", lambda x_fit, x, k: pca_svd(x_fit, x, k).reshape(len(x), -1)),
    ],
    "run_autoencoder": [
        ("here a ReLU", run_with(code=lambda a: np.maximum(a, 0))),
        ("sigmoid of the output", run_with(output=lambda a: a)),
        ("lack their non-linearity", run_with(hidden=lambda a: a)),
        ("where the shape", run_with(image=False)),
        ("1 results", lambda *given: run_numpy(*given)[1]),
    ],
    "build_autoencoder": [
        ("shape (9, 32), where", build(size=32)),
        ("shape (9, 784), where", build(flat=True)),
        ("range from 0 to 1", build(output=None)),
        ("encoder has no hidden", build(hidden=(), back=(64,))),
        ("encoder has no hidden", build(activation=None)),
        ("decoder has no hidden", build(hidden=(128, 64), back=())),
        ("300,000", build(hidden=(512, 256))),
    ],
    "fraction_unexplained": [
        ("one grey value", lambda x, x_recon: np.sum((x - x_recon) ** 2) / np.sum((x - x.mean()) ** 2)),
        (
            "mean of the images",
            lambda x, x_recon: np.mean(
                [np.sum((a - b) ** 2) / np.sum((a - x.mean(axis=0)) ** 2) for a, b in zip(x, x_recon, strict=True)]
            ),
        ),
        ("values are not", lambda x, x_recon: np.mean((x - x_recon) ** 2) / np.sum((x - x.mean(axis=0)) ** 2)),
        (
            "axis of your sums",
            lambda x, x_recon: np.sum((x - x_recon) ** 2, (1, 2, 3)) / np.sum((x - x.mean(axis=0)) ** 2),
        ),
    ],
}
