"""Trains what is for colour emoji: the network that colours, the one that removes watermarks, the explorer's VAE.

`tools.sweep` calls it, and keeps the weights and the record of each run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from vae_utils import data, denoisers, metrics, pretrained, training
from vae_utils.backend import keras

VALIDATION_FAMILIES = 3  # of the numbers that `data.number_families` gives
STAMPS = 10_000  # stamps made before the training; colours are drawn anew for every batch
BATCH_SIZE = 32
SHARPNESS, MEAN_SHARE = 4.0, 0.02  # of the loss of several answers
HIGHEST_PSNR = 40.0  # dB; a picture without colours would make a mean infinite
EPOCHS = {"colouriser": 16, "watermark_remover": 24, "emoji_vae": 30}
PEAK_RATE = {"colouriser": 4e-3, "watermark_remover": 2e-3, "emoji_vae": 8e-3}


def load_pictures(limit: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Emoji for training, validation and testing, without a family in two of them; at most `limit` of each."""
    (x, names), (x_test, _) = data.load_emoji()
    validation = data.number_families(names) == VALIDATION_FAMILIES
    return x[~validation][:limit], x[validation][:limit], x_test[:limit]


def add_variants(x: np.ndarray, channel_orders: int) -> np.ndarray:
    """The images and their mirror images, each with that many cyclic orders of its channels (1 to 3)."""
    x = np.concatenate([x, x[:, :, ::-1]])
    return np.concatenate([np.roll(x, shift, axis=-1) for shift in range(channel_orders)])


@dataclass(frozen=True)
class Stamps:
    """Stamps in a random colour over every image of a batch, taken from a number of them made by `data.stamp_words`."""

    words: tuple[str, ...]
    number: int
    seed: int

    def __post_init__(self) -> None:
        blank = np.zeros((self.number, 32, 32, 1), np.float32)
        _, opacity = data.stamp_words(blank, self.words, np.random.default_rng(self.seed))
        object.__setattr__(self, "opacity", tf.constant(opacity))

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`(batch, 32, 32, 3)` in [0, 1] and a seed of two ints -> the same shape, stamped."""
        which_seed, colour_seed = tf.unstack(tf.random.split(seed, 2))
        which = tf.random.stateless_uniform((tf.shape(x)[0],), which_seed, 0, self.number, tf.int32)
        colour = tf.random.stateless_uniform((tf.shape(x)[0], 1, 1, 3), colour_seed)
        return x + tf.gather(self.opacity, which) * (colour - x)


class ColourTraining(keras.Model):
    """Trains a colouriser, `network`, by `fit(x)` with colour images: it sees their luma and gives several answers.

    The loss is a soft minimum over the answers of log MSE, `-log(sum(exp(-c * log_mse))) / c`, and a small share of the
    mean, by which answers that are never the best still learn.
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network, self.image_shape = network, (*network.inputs[0].shape[1:3], 3)
        self.supports_jit = False
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Images `(batch, 32, 32, 3)` -> answers `(batch, answers, 32, 32, 3)`."""
        luma = keras.ops.sum(x * keras.ops.convert_to_tensor(data.LUMA), axis=-1, keepdims=True)
        return self.network(keras.ops.clip(luma, 0, 1), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Any:
        """The loss of a batch, a mean over its images."""
        error = keras.ops.mean(keras.ops.square(keras.ops.expand_dims(x, 1) - y_pred), axis=(2, 3, 4))
        log_mse = keras.ops.log(error + 1e-4)
        soft_minimum = -keras.ops.logsumexp(-SHARPNESS * log_mse, axis=1) / SHARPNESS
        self.add_loss(keras.ops.mean(soft_minimum) + MEAN_SHARE * keras.ops.mean(log_mse))
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def measure_colouring(network: keras.Model, x: np.ndarray) -> dict[str, float]:
    """Mean PSNR in dB of all answers and of the best, each at most 40; their spread; the largest error of luma."""
    grey = data.to_grey(x)
    answers = np.moveaxis(network.predict(grey, batch_size=256, verbose=0), 1, 0)
    decibels = np.minimum(np.stack([metrics.psnr(x, answer) for answer in answers]), HIGHEST_PSNR)
    return {
        "psnr_single": float(decibels.mean()),
        "psnr_best_of_ten": float(decibels.max(axis=0).mean()),
        "spread": float(answers.std(axis=0).mean()),
        "luma_error": float(np.abs(answers @ np.float32(data.LUMA) - grey[..., 0]).max()),
    }


def measure_removal(model: Any, x: np.ndarray, words: tuple[str, ...] = data.HELD_OUT_WORDS) -> dict[str, float]:
    """Mean PSNR in dB inside stamps with these words and outside, stamped and repaired."""
    stamped, opacity = data.stamp_words(x, words, np.random.default_rng(0))
    inside, repaired = opacity > 0, model.reconstruct(stamped)
    return {
        "psnr_inside_stamped": float(metrics.psnr(x, stamped, inside).mean()),
        "psnr_inside": float(metrics.psnr(x, repaired, inside).mean()),
        "psnr_outside": float(metrics.psnr(x, repaired, ~inside).mean()),
        "psnr_whole_stamped": float(metrics.psnr(x, stamped).mean()),
        "psnr_whole": float(metrics.psnr(x, repaired).mean()),
    }


def measure_emoji_vae(model: Any, x: np.ndarray) -> dict[str, float]:
    """Negative ELBO in nats (grey-level convention, all channels), and the mean PSNR in dB of the reconstructions."""
    return {
        "loss": metrics.negative_elbo(model, x)["loss"],
        "psnr": float(metrics.psnr(x, model.reconstruct(x)).mean()),
    }


def train_colour_model(name: str, seed: int, epochs: int, limit: int | None) -> tuple[keras.Model, Any, dict[str, Any]]:
    """The trained part that is kept, the log of its training, and what was measured on validation and test emoji."""
    x_train, x_validation, x_test = load_pictures(limit)
    keras.utils.set_random_seed(seed)
    settings = {"epochs": epochs, "batch_size": min(BATCH_SIZE, len(x_train)), "seed": seed, "live": False}
    settings["peak_learning_rate"] = PEAK_RATE[name]
    if name == "colouriser":
        model, measure = ColourTraining(denoisers.build_colouriser()), measure_colouring
        log = training.train(model, add_variants(x_train, 1), x_validation, **settings)
        kept = model.network
    elif name == "emoji_vae":
        model, measure = pretrained.COLOUR_MODELS[name](), measure_emoji_vae
        kept = model
        model.decoder.get_layer("logits").bias.assign(data.pixel_log_odds(x_train))
        log = training.train(model, add_variants(x_train, 1), x_validation, **settings)
    else:
        model = kept = denoisers.build_watermark_remover()
        stamped, _ = data.stamp_words(x_validation, data.HELD_OUT_WORDS, np.random.default_rng(seed))
        stamps = Stamps(data.STAMP_WORDS, min(STAMPS, len(x_train) * 4), seed)
        settings |= {"corrupt": stamps, "y_validation": x_validation}
        log = training.train(model, add_variants(x_train, 3), stamped, **settings)
        measure = measure_removal
    parts = {"validation": x_validation, "test": x_test}
    measured = {f"{part}_{key}": value for part, x in parts.items() for key, value in measure(kept, x).items()}
    return kept, log, measured
