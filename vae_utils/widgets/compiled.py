"""Compiled inference: a decoder that is fast enough for a slider."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def compiled_decoder(vae: Any) -> Callable[[np.ndarray], np.ndarray]:
    """`vae.decode` as one graph that is built once, here, and reads the weights at every call: it follows training.

    `vae` is a `VAE`, or anything with its `decoder` and `latent_dim`. The function maps `(n, latent_dim)` to
    probabilities `(n, height, width, channels)`; ValueError for another shape, NaN or infinite numbers.
    """
    graph = tf.function(lambda z: keras.ops.sigmoid(vae.decoder(z)), jit_compile=False)
    run = graph.get_concrete_function(tf.TensorSpec((None, vae.latent_dim), tf.float32))

    def decode(z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != vae.latent_dim or not np.isfinite(z).all():
            raise ValueError(f"z must be finite and of shape (n, {vae.latent_dim}), but has {z.shape}.")
        return run(tf.constant(z)).numpy() if len(z) else vae.decode(z)

    return decode
