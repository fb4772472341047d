"""Seconds that our recipe takes to the test loss of the usual Keras example, and the seconds which that example takes.

    python3 run.py bench            a few minutes: trains ours, and times two epochs of the example; the losses that
                                    the example reaches are those of the last full measurement
    python3 run.py bench --full     20 minutes: trains the example for its 30 epochs and measures every one
    python3 run.py bench --record   writes the numbers to training_speed.json, from where the README has them

The example is the network that most tutorials copy (stride-2 convolutions 32 and 64, dense 16, transposed
convolutions 64, 32, 1, kernels 3×3, Adam 1e-3, batches of 128, 30 epochs), written here with our own code. It trains on
the 60,000 digits; ours needs only a part of them. Both are measured on the 10,000 test digits. Ours runs twice before
the example and twice after it, so that a machine whose speed changes favours neither.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from vae_utils import VAE, build_decoder, build_encoder, load_mnist, negative_elbo, pixel_log_odds, training
from vae_utils.backend import keras
from vae_utils.vae import kl_divergence, reconstruction_loss

layers = keras.layers
RECORD_PATH = Path(__file__).with_suffix(".json")
USUAL_EPOCHS, USUAL_BATCH_SIZE, PACE_EPOCHS = 30, 128, 2
# As short as passes the example's final loss.
OUR_RUNS, OUR_DIGITS, OUR_BATCH_SIZE, OUR_PEAK_RATE = 4, 24_000, 128, 1.2e-2


def build_usual_example() -> VAE:
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
    vae = VAE(encoder, decoder)
    vae.compile(keras.optimizers.Adam(1e-3))
    return vae


class EpochTimer(keras.callbacks.Callback):
    """Seconds of each epoch, and if there are test images the test loss after it, whose measurement is not timed."""

    def __init__(self, x_test: np.ndarray | None) -> None:
        super().__init__()
        self.x_test, self.seconds, self.losses = x_test, [], []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(round(time.perf_counter() - self.started, 2))
        loss = ""
        if self.x_test is not None:
            self.losses.append(round(negative_elbo(self.model, self.x_test)["loss"], 2))
            loss = f", test loss {self.losses[-1]:.2f}"
        print(f"usual example, epoch {epoch + 1}: {self.seconds[-1]:.1f} s{loss}", flush=True)


def time_usual_example(x: np.ndarray, epochs: int, x_test: np.ndarray | None = None) -> EpochTimer:
    """Train the example; ten steps before the first epoch build the graph and are not timed."""
    keras.utils.set_random_seed(0)
    vae, timer = build_usual_example(), EpochTimer(x_test)
    vae.fit(x[: 10 * USUAL_BATCH_SIZE], batch_size=USUAL_BATCH_SIZE, epochs=1, verbose=0)
    vae.fit(x, batch_size=USUAL_BATCH_SIZE, epochs=epochs, callbacks=[timer], verbose=0)
    return timer


def time_ours(x: np.ndarray, x_test: np.ndarray) -> dict[str, Any]:
    """Train by the course's recipe on the first digits; test loss and seconds at its end, training loss on the way.

    The seconds contain building model and graph; as with the example, the test loss is measured outside them.
    """
    keras.utils.set_random_seed(0)
    started = time.perf_counter()
    vae = VAE(build_encoder(2), build_decoder(2, log_odds=pixel_log_odds(x)))
    log = training.train(
        vae,
        x[:OUR_DIGITS],
        x[-1000:],
        epochs=1,
        batch_size=OUR_BATCH_SIZE,
        peak_learning_rate=OUR_PEAK_RATE,
        corrupt=training.BernoulliDraws(),
        live=False,
    )
    seconds = time.perf_counter() - started
    seen = np.round(np.array(log.step_epochs) * log.recipe["steps_per_epoch"] * OUR_BATCH_SIZE)
    return {
        "seconds": round(seconds, 2),
        "loss": round(negative_elbo(vae, x_test, draws=5)["loss"], 2),
        "digits_seen": seen.astype(int).tolist(),
        "training_losses": [round(loss, 2) for loss in log.step_loss],
        "recipe": log.recipe,
    }


def compare(usual: dict[str, Any], ours: list[dict[str, Any]], pace: list[float] | None) -> dict[str, Any]:
    """Seconds of both to the example's own final test loss.

    Args:
        usual: `losses` and `seconds` of every epoch of a full training of the example, which is counted to the first
            epoch that ends at or below its last loss.
        ours: `loss` and `seconds` of runs of our training; their mean seconds count, and their highest loss.
        pace: seconds of a few epochs of the example in this run, whose median then stands for each of its epochs.

    Raises:
        ValueError: ours does not reach that loss.
    """
    target, our_loss = usual["losses"][-1], max(run["loss"] for run in ours)
    if our_loss > target:
        raise ValueError(f"Our run ends at a test loss of {our_loss}, above {target}: train for longer.")
    usual_epochs = next(epoch for epoch, loss in enumerate(usual["losses"], 1) if loss <= target)
    usual_seconds = usual_epochs * statistics.median(pace) if pace else sum(usual["seconds"][:usual_epochs])
    our_seconds = statistics.mean(run["seconds"] for run in ours)
    return {
        "target_loss": target,
        "usual_epochs": usual_epochs,
        "usual_seconds": round(usual_seconds, 1),
        "our_digits": ours[0]["recipe"]["train_images"],
        "our_seconds": round(our_seconds, 1),
        "our_loss": our_loss,
        "ratio": round(usual_seconds / our_seconds, 1),
    }


def time_overhead(x: np.ndarray, epochs: int = 3) -> tuple[float, float]:
    """Milliseconds per step of Keras' `fit` and of a bare compiled step on the same batches.

    The two alternate, epoch by epoch, and the medians are given; building the graphs is not counted.
    """
    import tensorflow as tf

    by_fit, bare = VAE(build_encoder(2), build_decoder(2)), VAE(build_encoder(2), build_decoder(2))
    by_fit.compile(keras.optimizers.Adam(1e-3), steps_per_execution=training.STEPS_PER_EXECUTION)
    by_fit.optimizer.build(by_fit.trainable_variables)
    optimizer = keras.optimizers.Adam(1e-3)
    variables = bare.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            z_mean, z_log_var = bare.encoder(batch, training=True)
            logits = bare.decoder(bare.sampler(z_mean, z_log_var), training=True)
            loss = tf.reduce_mean(reconstruction_loss(batch, logits) + kl_divergence(z_mean, z_log_var))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def run_bare_epoch() -> None:
        for batch in batches:
            step(batch)

    batches = training.shuffled_batches(x)
    times: dict[str, list[float]] = {"fit": [], "bare": []}
    for epoch in range(epochs + 1):
        for name, run in (("fit", lambda: by_fit.fit(batches, verbose=0)), ("bare", run_bare_epoch)):
            started = time.perf_counter()
            run()
            if epoch:
                times[name].append(1000 * (time.perf_counter() - started) / len(batches))
    return statistics.median(times["fit"]), statistics.median(times["bare"])


def describe_machine() -> str:
    """What the numbers are measured on."""
    return f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"


def describe_versions() -> str:
    """What the numbers are measured with."""
    import tensorflow as tf  # by its own word: the distribution may be tensorflow or tensorflow-cpu

    return f"Python {platform.python_version()}, Keras {keras.version()}, TensorFlow {tf.__version__}"


def read_record() -> dict[str, Any]:
    """What is recorded, empty if nothing is."""
    return json.loads(RECORD_PATH.read_text(encoding="utf-8")) if RECORD_PATH.exists() else {}


def write_record(record: dict[str, Any]) -> None:
    """Replace the record."""
    RECORD_PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def measure_usual_example(x: np.ndarray, x_test: np.ndarray, full: bool) -> tuple[dict[str, Any], list[float] | None]:
    """Losses and seconds of the example's whole training, measured now if `full`, and its pace now if not."""
    if full:
        timer = time_usual_example(x, USUAL_EPOCHS, x_test)
        return {
            "losses": timer.losses,
            "seconds": timer.seconds,
            "machine": describe_machine(),
            "versions": describe_versions(),
        }, None
    usual = read_record()["usual"]
    print(f"The example's test losses were measured earlier ({usual['machine']}; {usual['versions']}).")
    return usual, time_usual_example(x, PACE_EPOCHS).seconds


def main() -> None:
    """The command line of `python3 run.py bench`."""
    parser = argparse.ArgumentParser(prog="run.py bench", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="train the usual example for all its 30 epochs")
    parser.add_argument("--record", action="store_true", help="write the numbers to training_speed.json")
    options = parser.parse_args()
    if not options.full and "usual" not in read_record():
        parser.error(f"{RECORD_PATH.name} holds no losses of the usual example: measure them with --full --record.")
    print(f"{describe_machine()}\n{describe_versions()}\n")
    (x, _), (x_test, _) = load_mnist()

    ours = [time_ours(x, x_test) for _ in range(OUR_RUNS // 2)]  # half of them before the example, half after
    usual, pace = measure_usual_example(x, x_test, options.full)
    if options.full and options.record:
        write_record(read_record() | {"usual": usual})  # twenty minutes of work, kept whatever happens below
    ours += [time_ours(x, x_test) for _ in range(OUR_RUNS // 2)]
    result = compare(usual, ours, pace)
    print(
        f"to a test loss of {result['target_loss']}: ours {result['our_seconds']} s ({result['our_digits']} digits), "
        f"the usual example {result['usual_seconds']} s ({result['usual_epochs']} epochs): ratio {result['ratio']}",
        flush=True,
    )
    fit, bare = time_overhead(x[:27_500])
    print(f"a step by fit {fit:.2f} ms, bare {bare:.2f} ms: ratio {fit / bare:.2f}")
    if options.record:
        overhead = {"fit_over_bare_step": round(fit / bare, 2)}
        measured = {"usual": usual, "usual_pace": pace, "ours": ours}
        write_record({"machine": describe_machine(), "versions": describe_versions(), **result, **overhead, **measured})


if __name__ == "__main__":
    main()
