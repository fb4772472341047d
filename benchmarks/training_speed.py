"""Speed of our recipe beside the usual Keras example, measured in one run on one machine.

    python3 run.py bench            about 3 minutes: seconds to a test loss of 152.0, and the median of two epochs
                                    of the usual example times the 30 it needs
    python3 run.py bench --full     trains the usual example for its 30 epochs as well
    python3 run.py bench --record   writes the numbers to training_speed.json, from where the README has them

The usual example is the network that most tutorials copy (stride-2 convolutions 32 and 64, dense 16,
transposed convolutions 64, 32, 1, kernels 3×3, Adam 1e-3, batch 128), written here with our own code.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from vae_utils import VAE, build_decoder, build_encoder, load_mnist, negative_elbo, split_validation, training
from vae_utils.backend import keras
from vae_utils.data import pixel_log_odds

layers = keras.layers
TARGET = 152.0
RECORD_PATH = Path(__file__).with_suffix(".json")
USUAL_EPOCHS = 30
OUR_EPOCHS, OUR_BATCH_SIZE = 1, 96  # the recipe, as short as it can be to pass the target


def usual_example() -> VAE:
    """The usual example's network, compiled with its settings."""
    x = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    h = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(h)
    h = layers.Dense(16, activation="relu")(layers.Flatten()(h))
    encoder = keras.Model(x, [layers.Dense(2)(h), layers.Dense(2)(h)])
    z = keras.Input((2,))
    h = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, activation="relu")(z))
    h = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(h)
    h = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(h)
    decoder = keras.Model(z, layers.Conv2DTranspose(1, 3, padding="same")(h))
    vae = VAE(encoder, decoder, bernoulli_input=False)
    vae.compile(keras.optimizers.Adam(1e-3))
    return vae


def time_usual_example(x: np.ndarray, epochs: int) -> tuple[list[float], VAE]:
    """Seconds of each epoch of `fit`, after an epoch on 1,280 images that builds the graph."""
    keras.utils.set_random_seed(0)
    vae = usual_example()
    vae.fit(x[:1280], batch_size=128, epochs=1, verbose=0)
    seconds = []
    for epoch in range(epochs):
        started = time.perf_counter()
        vae.fit(x, batch_size=128, epochs=1, verbose=0)
        seconds.append(time.perf_counter() - started)
        print(f"usual example, epoch {epoch + 1}: {seconds[-1]:.1f} s", flush=True)
    return seconds, vae


def time_ours(x_train: np.ndarray, x_validation: np.ndarray, x_test: np.ndarray, epochs: int) -> tuple[float, float]:
    """Seconds of the whole training (graph building and validation included) and the test loss it reaches."""
    keras.utils.set_random_seed(0)
    started = time.perf_counter()
    vae = VAE(build_encoder(2), build_decoder(2, pixel_log_odds(x_train)))
    training.train(vae, x_train, x_validation, epochs=epochs, batch_size=OUR_BATCH_SIZE, live=False)
    seconds = time.perf_counter() - started
    return seconds, negative_elbo(vae, x_test, draws=5)["loss"]


def time_overhead(x: np.ndarray, epochs: int = 3) -> tuple[float, float]:
    """Milliseconds per step of `train` (Keras' `fit`) and of a bare compiled step on the same batches.

    The two alternate, epoch by epoch, and the medians are given; building the graphs is not counted.
    """
    import tensorflow as tf

    batch_size = training.BATCH_SIZE
    steps = len(x) // batch_size // training.STEPS_PER_EXECUTION * training.STEPS_PER_EXECUTION
    by_fit, bare = VAE(build_encoder(2), build_decoder(2)), VAE(build_encoder(2), build_decoder(2))
    by_fit.compile(keras.optimizers.Adam(1e-3), steps_per_execution=training.STEPS_PER_EXECUTION)
    optimizer = keras.optimizers.Adam(1e-3)
    variables = bare.encoder.trainable_variables + bare.decoder.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            reconstruction, kl = bare.elbo_terms(batch, training=True)
            loss = tf.reduce_mean(reconstruction + kl)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def fit_epoch() -> None:
        by_fit.fit(fit_batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)

    def bare_epoch() -> None:
        for batch in bare_batches.take(steps):
            step(batch)

    fit_batches = training.shuffled_batches(x, batch_size=batch_size)
    bare_batches = training.shuffled_batches(x, batch_size=batch_size)
    times: dict[str, list[float]] = {"fit": [], "bare": []}
    for epoch in range(epochs + 1):
        for name, run in (("fit", fit_epoch), ("bare", bare_epoch)):
            started = time.perf_counter()
            run()
            if epoch:
                times[name].append(1000 * (time.perf_counter() - started) / steps)
    return statistics.median(times["fit"]), statistics.median(times["bare"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="train the usual example for all its 30 epochs")
    parser.add_argument("--record", action="store_true", help="write the numbers to training_speed.json")
    options = parser.parse_args()
    import tensorflow as tf

    machine = f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"
    versions = f"Python {platform.python_version()}, Keras {keras.version()}, TensorFlow {tf.__version__}"
    print(f"{machine}\n{versions}\n")
    (x, _), (x_test, _) = load_mnist()
    x_train, x_validation = split_validation(x)

    seconds, loss = time_ours(x_train, x_validation, x_test, OUR_EPOCHS)
    reached = "reached" if loss <= TARGET else "NOT reached"
    how = f"{OUR_EPOCHS} epoch in batches of {OUR_BATCH_SIZE}"
    print(f"ours: {how} in {seconds:.1f} s, test loss {loss:.2f} ({TARGET} {reached})\n", flush=True)

    epoch_seconds, usual = time_usual_example(x, USUAL_EPOCHS if options.full else 2)
    usual_seconds = USUAL_EPOCHS * statistics.median(epoch_seconds)
    if options.full:
        print(
            f"usual example: test loss {negative_elbo(usual, x_test, draws=5)['loss']:.2f} after {USUAL_EPOCHS} epochs"
        )
    print(f"usual example: {usual_seconds:.0f} s for {USUAL_EPOCHS} epochs on 60,000 digits")
    print(f"ratio: {usual_seconds / seconds:.0f} times faster to {TARGET} nats\n", flush=True)

    fit, bare = time_overhead(x_train[:27_500])
    print(f"a step by fit {fit:.2f} ms, bare {bare:.2f} ms: ratio {fit / bare:.2f}")
    if options.record:
        record = {
            "machine": machine,
            "versions": versions,
            "target_loss": TARGET,
            "our_epochs": OUR_EPOCHS,
            "our_batch_size": OUR_BATCH_SIZE,
            "our_seconds": round(seconds, 1),
            "our_test_loss": round(loss, 2),
            "usual_epochs": USUAL_EPOCHS,
            "usual_seconds": round(usual_seconds),
            "ratio": round(usual_seconds / seconds),
            "fit_over_bare_step": round(fit / bare, 2),
        }
        RECORD_PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
