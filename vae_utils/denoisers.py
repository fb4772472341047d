"""Denoising autoencoders without a Gaussian code, the rivals of the VAE's second encoder in notebook 06."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from vae_utils import vae
from vae_utils.vae import PixelBias, Tensor


class DenoisingAutoencoder(keras.Model):
    """An autoencoder that learns to reconstruct the clean image: `fit(noisy, clean)`; `vae_utils.train` does it too.

    `model(x)` is the denoised image in [0, 1]; the loss is `reconstruction_loss`, nats per image.
    `network` maps `(batch, *image_shape)` in [0, 1] to logits of the same shape.
    Source: Vincent et al. (2008), "Extracting and composing robust features with denoising autoencoders".
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network, self.image_shape = network, tuple(network.inputs[0].shape[1:])
        self.supports_jit = False  # XLA makes these convolutions slower on a CPU
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Images `(batch, *image_shape)` -> denoised images in [0, 1]."""
        return ops.sigmoid(self.network(x, training=training))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Tensor:
        """The loss of a batch in nats per image, from the probabilities in `y_pred`."""
        probabilities = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        logits = ops.log(probabilities) - ops.log1p(-probabilities)
        self.add_loss(ops.mean(vae.reconstruction_loss(x if y is None else y, logits)))
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
