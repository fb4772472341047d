"""Networks that repair or colour images: denoising autoencoders (notebook 06), U-shaped networks (notebook 08)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from vae_utils import vae
from vae_utils.data import LUMA
from vae_utils.vae import PixelBias, Tensor


class DenoisingAutoencoder(keras.Model):
    """An autoencoder that learns to reconstruct the clean image: `fit(noisy, clean)`; `vae_utils.train` does it too.

    `model(x)` is the denoised image in [0, 1]. `network` maps `(batch, *image_shape)` in [0, 1] to logits of the same
    shape; the loss is `reconstruction_loss`, nats per image. With `gives_logits=False` it maps to the image itself, and
    the loss is the mean of log MSE, which rewards decibels.
    Source: Vincent et al. (2008), "Extracting and composing robust features with denoising autoencoders".
    """

    def __init__(self, network: keras.Model, gives_logits: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network, self.image_shape = network, tuple(network.inputs[0].shape[1:])
        self.gives_logits = gives_logits
        self.supports_jit = False  # XLA makes these convolutions slower on a CPU
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Images `(batch, *image_shape)` -> denoised images in [0, 1]."""
        output = self.network(x, training=training)
        return ops.sigmoid(output) if self.gives_logits else output

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Tensor:
        """The loss of a batch, a mean over its images, from the images in `y_pred`."""
        target = x if y is None else y
        if self.gives_logits:
            probabilities = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            loss = vae.reconstruction_loss(target, ops.log(probabilities) - ops.log1p(-probabilities))
        else:
            loss = ops.log(ops.mean(ops.square(target - y_pred), axis=(1, 2, 3)) + 1e-5)
        self.add_loss(ops.mean(loss))
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """`(batch, *image_shape)` in [0, 1] -> the same shape, denoised; ValueError for other arrays."""
        return vae.run_in_batches(lambda part: [self(part)], vae.check_images(x, self.image_shape))[0]


def build_unet_denoiser(log_odds: np.ndarray | None = None) -> DenoisingAutoencoder:
    """A small U-shaped network for 28×28×1: down to 7×7, up again, with a skip connection at 14×14.

    `log_odds` is the first value of the pixel bias, see `vae.build_decoder`.
    Source of the skip connection: Ronneberger, Fischer and Brox (2015), "U-Net".
    """
    x = keras.Input((28, 28, 1), name="image")
    half = layers.Conv2D(16, 5, strides=2, padding="same", activation="gelu", name="conv_1")(x)  # -> 14x14x16
    h = layers.Conv2D(32, 3, strides=2, padding="same", activation="gelu", name="conv_2")(half)  # -> 7x7x32
    h = layers.Conv2D(32, 3, padding="same", activation="gelu", name="conv_3")(h)  # -> 7x7x32
    h = layers.Conv2DTranspose(16, 4, strides=2, padding="same", activation="gelu", name="conv_transpose_1")(h)
    h = layers.Concatenate(name="skip_connection")([h, half])  # -> 14x14x32
    h = layers.Conv2DTranspose(1, 6, strides=2, padding="same", use_bias=False, name="conv_transpose_2")(h)
    pixel_bias = PixelBias(name="logits")
    network = keras.Model(x, pixel_bias(h), name="unet_denoiser")  # -> 28x28x1
    if log_odds is not None:
        pixel_bias.bias.assign(log_odds)
    return DenoisingAutoencoder(network)


def build_bottleneck_denoiser(code_size: int = 10, log_odds: np.ndarray | None = None) -> DenoisingAutoencoder:
    """The VAE's encoder and decoder with a code of `code_size` numbers, but without noise on the code or a prior."""
    encoder = vae.build_encoder(code_size)
    code_only = keras.Model(encoder.inputs, encoder.outputs[0], name="encoder")
    decoder = vae.build_decoder(code_size, log_odds=log_odds)
    network = keras.Model(encoder.inputs, decoder(code_only(encoder.inputs[0])), name="bottleneck_denoiser")
    return DenoisingAutoencoder(network)


def apply_unet(x: Tensor, widths: Sequence[int], channels: int) -> Tensor:
    """Layers of a U-shaped network: `(batch, height, width, _)` -> `(batch, height, width, channels)`.

    `widths` are the feature maps at each size, which halves from one to the next; the way up gets those of the way down
    as skip connections. Source: Ronneberger, Fischer and Brox (2015), "U-Net".
    """
    h, skips = x, []
    for width in widths:
        h = layers.Conv2D(width, 3, strides=2 if skips else 1, padding="same", activation="gelu")(h)
        h = h + layers.Conv2D(width, 3, padding="same", activation="gelu")(h)
        skips.append(h)
    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        h = layers.Conv2DTranspose(width, 2, strides=2, activation="gelu")(h)
        h = layers.Concatenate()([h, skip])
        h = layers.Conv2D(width, 3, padding="same", activation="gelu")(h)
        h = h + layers.Conv2D(width, 3, padding="same", activation="gelu")(h)
    return layers.Conv2D(channels, 3, padding="same")(h)


def build_watermark_remover(widths: Sequence[int] = (24, 32, 48, 48)) -> DenoisingAutoencoder:
    """A U-shaped network for 32×32×3 that changes each pixel x to x + mask · (a · x + b), with a soft mask in [0, 1].

    Undoing a stamp of known opacity and colour has this form: notebook 08.
    """
    x = keras.Input((32, 32, 3), name="stamped")
    maps = apply_unet(x, widths, 5)
    x_recon = x + ops.sigmoid(maps[..., :1]) * (maps[..., 1:2] * x + maps[..., 2:])
    return DenoisingAutoencoder(keras.Model(x, ops.clip(x_recon, 0, 1)), gives_logits=False)


def add_colour(grey: Tensor, offsets: Tensor) -> Tensor:
    """Colours in [0, 1] with the luma `grey`, `(…, 1)`, and the `offsets` of red and blue from it, `(…, 2)`: `(…, 3)`.

    Green's offset keeps the luma; where a colour would leave [0, 1], its offsets shrink.
    """
    red, blue = offsets[..., :1], offsets[..., 1:]
    offset = ops.concatenate([red, (red * LUMA[0] + blue * LUMA[2]) / -LUMA[1], blue], axis=-1)
    limit = ops.where(offset > 0, 1 - grey, grey) / (ops.abs(offset) + 1e-6)
    return grey + offset * ops.minimum(1.0, ops.min(limit, axis=-1, keepdims=True))


def build_colouriser(answers: int = 10, widths: Sequence[int] = (16, 32, 48, 48)) -> keras.Model:
    """Several answers to one question: grey images `(batch, 32, 32, 1)` -> RGB `(batch, answers, 32, 32, 3)` in [0, 1].

    Every grey level has a learned vector (an embedding), and from it in each answer a colour, as in a table; a U-shaped
    network that sees the grey image and the vectors corrects these colours. Every answer keeps the luma.
    """
    grey = keras.Input((32, 32, 1), name="grey")
    level = layers.Embedding(256, 24)(ops.cast(ops.round(255 * grey[..., 0]), "int32"))  # -> 32x32x24
    maps = apply_unet(layers.Concatenate()([grey, level]), widths, 2 * answers) + layers.Dense(2 * answers)(level)
    offsets = layers.Permute((3, 1, 2, 4))(layers.Reshape((32, 32, answers, 2))(maps))  # -> answers x32x32x2
    return keras.Model(grey, add_colour(ops.expand_dims(grey, 1), offsets), name="colouriser")
