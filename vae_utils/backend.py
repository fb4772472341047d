"""The one door to Keras: imports it on the TensorFlow backend without TensorFlow's start-up chatter.

TensorFlow writes a few lines to the process' standard error when it loads and when it first computes,
past Python and past `TF_CPP_MIN_LOG_LEVEL`. In a notebook they would land in the output. Errors of the
import itself are raised as always.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def _stderr_to_null() -> Iterator[None]:
    """Send file descriptor 2 to the null device for a moment."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


with _stderr_to_null():
    import keras

    keras.ops.convert_to_numpy(keras.ops.zeros(()))  # the first computation wakes the devices, and says so

__all__ = ["compiled", "keras"]


def compiled(function: Callable[[Any], Any], size: int) -> Callable[[Any], Any]:
    """`function` of one `(n, size) float32` array as graphs that are built once: one for n = 1, one for any n.

    The first is compiled by XLA, which makes a slider's tick shorter, unless this TensorFlow comes without it.
    """
    import tensorflow as tf

    def graph(n: int | None, by_xla: bool) -> Callable[[Any], Any]:
        return tf.function(function, jit_compile=by_xla).get_concrete_function(tf.TensorSpec((n, size), tf.float32))

    one, many = graph(1, by_xla=True), graph(None, by_xla=False)
    try:
        one(tf.zeros((1, size)))
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
        one = many
    return lambda z: (one if len(z) == 1 else many)(tf.constant(z))
