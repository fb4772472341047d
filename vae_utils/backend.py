"""Keras on the TensorFlow backend, imported without TensorFlow's start-up lines.

TensorFlow writes a few lines to the standard error of the process when it loads and when it first computes, past
Python and past `TF_CPP_MIN_LOG_LEVEL`. In a notebook they would land in the output.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

sys.stderr.flush()
stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 2)
try:
    import keras

    keras.ops.convert_to_numpy(keras.ops.zeros(()))  # the first computation starts the devices, which writes lines too
finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(null)
