"""Keras on the TensorFlow backend, imported without TensorFlow's start-up lines, and compiled inference for sliders.

TensorFlow writes a few lines to the standard error of the process when it loads and when it first computes, past
Python and past `TF_CPP_MIN_LOG_LEVEL`. In a notebook they would land in the output.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Send file descriptor 2 to the null device for a moment; exceptions pass as always."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


with silence_stderr():
    import keras

    keras.ops.convert_to_numpy(keras.ops.zeros(()))  # the first computation starts the devices, which writes lines too


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
    import tensorflow as tf

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
