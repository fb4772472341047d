"""Compiled inference: a decoder that is fast enough for a slider."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def compiled_decoder(vae: Any) -> Callable[[np.ndarray], np.ndarray]:
    """`vae.decode` for sliders: graphs that are built once here, several times faster for a single z.

    The graph for one z is compiled by XLA where this TensorFlow has it. Both read the weights at every call, so they
    follow a model that is trained further.

    Args:
        vae: a `VAE`, or anything with its `decoder` and `latent_dim`.

    Returns:
        a function `(n, latent_dim)` -> probabilities `(n, height, width, channels)`; ValueError for another shape, NaN
        or infinite numbers.
    """

    def build_graph(n: int | None, by_xla: bool) -> Callable[[Any], Any]:
        decode = tf.function(lambda z: keras.ops.sigmoid(vae.decoder(z)), jit_compile=by_xla)
        return decode.get_concrete_function(tf.TensorSpec((n, vae.latent_dim), tf.float32))

    decode_one, decode_many = build_graph(1, by_xla=True), build_graph(None, by_xla=False)
    try:
        decode_one(tf.zeros((1, vae.latent_dim)))
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
        decode_one = decode_many

    def decode(z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != vae.latent_dim or not np.isfinite(z).all():
            raise ValueError(f"z must be finite and of shape (n, {vae.latent_dim}), but has {z.shape}.")
        if not len(z):
            return vae.decode(z)
        return (decode_one if len(z) == 1 else decode_many)(tf.constant(z)).numpy()

    return decode
