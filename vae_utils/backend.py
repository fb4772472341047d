"""Keras on the TensorFlow backend, imported without TensorFlow's start-up lines.

TensorFlow writes a few lines to the standard error of the process when it loads and when it first computes, past
Python and past `TF_CPP_MIN_LOG_LEVEL`. In a notebook they would land in the output.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
