import keras
import numpy as np
from keras import layers, ops

from vae_utils import kl_divergence, reconstruction_loss

RIGHT, WRONG = {}, {}


def encoder(shape, d, activation="gelu", strides=2, last=None, shared=False, padding="same"):
    x = keras.Input(shape)
    h = layers.Conv2D(16, 5, strides, padding, activation=activation)(x)
    h = layers.Conv2D(32, 3, strides, padding, activation=activation)(h)
    h = layers.Dense(64, activation)(layers.Flatten()(h))
    z_mean = layers.Dense(d, last)(h)
    return keras.Model(x, [z_mean, z_mean if shared else layers.Dense(d, last)(h)])


def encoder_in_parts(shape, d):
    trunk = keras.Sequential([keras.Input(shape)])
    for filters, kernel in ((16, 5), (32, 3)):
        trunk.add(layers.Conv2D(filters, kernel, strides=(2, 2), padding="same"))
        trunk.add(layers.Activation("gelu"))
    trunk.add(layers.Flatten())
    trunk.add(layers.Dense(64, activation=keras.activations.gelu))
    x = keras.Input(shape)
    h = trunk(x)
    z_log_var = layers.Dense(d)(h)
    return keras.Model(x, [layers.Dense(d)(h), z_log_var])


def encoder_outputs(shape, d):
    return encoder(shape, d).outputs


def encoder_one_output(shape, d):
    model = encoder(shape, d)
    return keras.Model(model.inputs, model.outputs[0])


RIGHT["small_encoder"] = [encoder, encoder_in_parts]
WRONG["small_encoder"] = [
    ("lack their stride", lambda shape, d: encoder(shape, d, strides=1)),
    ("need a layer each", lambda shape, d: encoder(shape, d, shared=True)),
    ("ReLU", lambda shape, d: encoder(shape, d, "relu")),
    ("activation follows", lambda shape, d: encoder(shape, d, last="gelu")),
    ("not its outputs", encoder_outputs),
    ("2 results where 3", encoder_one_output),
]


def decoder(shape, d, activation="gelu", strides=2, last=None):
    z = keras.Input((d,))
    h = layers.Dense(64, activation)(z)
    h = layers.Dense(shape[0] * shape[1] * 2, activation)(h)
    h = layers.Reshape((shape[0] // 4, shape[1] // 4, 32))(h)
    h = layers.Conv2DTranspose(16, 3, strides, "same", activation=activation)(h)
    return keras.Model(z, layers.Conv2DTranspose(shape[2], 5, strides, "same", activation=last)(h))


def decoder_sequential(shape, d):
    stack = [
        keras.Input((d,)),
        layers.Dense(64, activation="gelu"),
        layers.Dense(shape[0] // 4 * (shape[1] // 4) * 32),
        layers.Activation("gelu"),
        layers.Reshape((shape[0] // 4, shape[1] // 4, -1)),
        layers.Conv2DTranspose(16, (3, 3), strides=2, padding="same", activation="gelu"),
        layers.Conv2DTranspose(shape[-1], (5, 5), strides=2, padding="same"),
    ]
    return keras.Sequential(stack)


RIGHT["small_decoder"] = [decoder, decoder_sequential]
WRONG["small_decoder"] = [
    ("sigmoid too many", lambda shape, d: decoder(shape, d, last="sigmoid")),
    ("lack their stride", lambda shape, d: decoder(shape, d, strides=1)),
    ("not its outputs", lambda shape, d: decoder(shape, d).outputs[0]),
]


def loss_numpy(x, logits, z_mean, z_log_var, beta, pixels=np.sum, dims=np.sum):
    cost = np.maximum(logits, 0) - x * logits + np.log1p(np.exp(-np.abs(logits)))
    kl = dims(z_mean**2 + np.exp(z_log_var) - z_log_var - 1, axis=-1) / 2
    return np.mean(pixels(cost.reshape(len(x), -1), axis=1)) + beta * kl.mean()


def loss_keras(x, logits, z_mean, z_log_var, beta):
    bce = keras.losses.binary_crossentropy(x, logits, from_logits=True)  # mean over the channels
    return ops.mean(ops.sum(bce, axis=(1, 2)) * x.shape[-1] + beta * kl_divergence(z_mean, z_log_var))


def loss_naive(x, logits, z_mean, z_log_var, beta):
    p = 1 / (1 + np.exp(-logits))
    cost = -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p)) / len(x)
    return cost + beta * np.mean(kl_divergence(z_mean, z_log_var))


RIGHT["vae_loss"] = [
    loss_numpy,
    lambda x, y, m, s, beta: ops.mean(reconstruction_loss(x, y) + beta * kl_divergence(m, s)),
    loss_keras,
]
WRONG["vae_loss"] = [
    ("beta is not used", lambda x, y, m, s, beta: loss_numpy(x, y, m, s, 1)),
    ("beta weights the rec", lambda x, y, m, s, beta: beta * loss_numpy(x, y, m, s, 1 / beta)),
    ("mean over its dimensions", lambda *given: loss_numpy(*given, dims=np.mean)),
    ("mean over the pixels", lambda *given: loss_numpy(*given, pixels=np.mean)),
    ("infinite", loss_naive),
    ("4 times too large", lambda *given: 4 * loss_numpy(*given)),
    ("(4,)", lambda x, y, m, s, beta: reconstruction_loss(x, y) + beta * kl_divergence(m, s)),
]


def average_loops(x_train, x):
    p = np.minimum(np.maximum(sum(x_train) / len(x_train), 0.001), 0.999)
    logits = np.log(p) - np.log1p(-p)
    return sum(float(np.sum(np.logaddexp(0, logits) - image * logits)) for image in x) / len(x)


def average_keras(x_train, x):
    p = np.broadcast_to(x_train.mean(axis=0).clip(1e-3, 0.999), x.shape)
    return ops.mean(reconstruction_loss(x, np.log(p / (1 - p))))


def average(x_train, x, p):
    return -np.mean(np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3)))


RIGHT["average_digit_loss"] = [average_loops, average_keras, lambda t, x: average(t, x, t.mean(0).clip(1e-3, 0.999))]
WRONG["average_digit_loss"] = [
    ("get one mean", lambda t, x: average(t, x, np.clip(t.mean(), 1e-3, 0.999))),
    ("of `x`", lambda t, x: average(t, x, np.clip(x.mean(axis=0), 1e-3, 0.999))),
    ("infinite", lambda t, x: average(t, x, t.mean(axis=0))),
    ("mean over 15", lambda t, x: average_loops(t, x) / 15),
    ("sign", lambda t, x: -average_loops(t, x)),
]


def sample_loop(decode, count, latent_dim, rng):
    return np.concatenate([1 / (1 + np.exp(-decode(rng.normal(size=(1, latent_dim))))) for _ in range(count)])


RIGHT["sample_images"] = [
    sample_loop,
    lambda decode, n, d, rng: ops.sigmoid(decode(rng.standard_normal((n, d)))),
    lambda decode, n, d, rng: np.tanh(decode(rng.normal(0, 1, (n, d))) / 2) / 2 + 0.5,
]
WRONG["sample_images"] = [
    ("uniform from 0 to 1", lambda decode, n, d, rng: ops.sigmoid(decode(rng.random((n, d))))),
    ("uniform from -3 to 3", lambda decode, n, d, rng: ops.sigmoid(decode(rng.uniform(-3, 3, (n, d))))),
    ("logits", lambda decode, n, d, rng: decode(rng.standard_normal((n, d)))),
    ("values are not", lambda decode, n, d, rng: ops.sigmoid(decode(np.random.normal(size=(n, d))))),
]


def grid(decode, side, reach, order):
    axis = np.linspace(-reach, reach, side)
    return ops.sigmoid(decode(np.array([order(first, second) for first in axis for second in axis])))


def grid_loops(decode, side, reach):
    images = []
    for row in range(side):
        for column in range(side):
            z = np.array([[-reach + 2 * reach * column / (side - 1), reach - 2 * reach * row / (side - 1)]])
            images.append(1 / (1 + np.exp(-np.asarray(decode(z))[0])))
    return np.array(images)


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p))


RIGHT["latent_grid"] = [grid_loops, lambda f, n, r: grid(f, n, r, lambda a, b: (b, -a))]
WRONG["latent_grid"] = [
    ("upside down", lambda f, n, r: grid(f, n, r, lambda a, b: (b, a))),
    ("along the columns", lambda f, n, r: grid(f, n, r, lambda a, b: (a, b))),
    ("exchanged", lambda f, n, r: grid(f, n, r, lambda a, b: (-a, b))),
    ("logits", lambda f, n, r: logit(grid(f, n, r, lambda a, b: (b, -a)))),
    ("values are not", lambda f, n, r: grid(f, n, r / 2, lambda a, b: (b, -a))),
]
