"""The training room: one recipe, shown live in a notebook and as plain lines elsewhere.

Muon, a short warm-up to the peak rate, then a cosine down to zero; new random batches every epoch; the
last 5,000 training digits validate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vae_utils.backend import keras
from vae_utils.data import check_images

BATCH_SIZE = 256
PEAK_LEARNING_RATE = 8e-3
WARMUP_FRACTION = 0.1
STEPS_PER_EXECUTION = 8  # training steps between two looks at the clock
SHOWN_DIGITS = 8


def learning_rate_schedule(steps: int, peak: float = PEAK_LEARNING_RATE) -> keras.optimizers.schedules.CosineDecay:
    """From 0 up to `peak` in the first tenth of `steps`, then along a cosine to 0.

    Source: Loshchilov and Hutter (2017), "SGDR", one cycle; warm-up as in Goyal et al. (2017).

    Args:
        steps: training steps in all, at least 1.
        peak: the highest rate, above 0.

    Raises:
        ValueError: `steps` or `peak` out of range.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but is {steps}.")
    if not peak > 0:
        raise ValueError(f"The peak learning rate must be above 0, but is {peak}.")
    warmup_steps = max(1, round(WARMUP_FRACTION * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, steps - warmup_steps), warmup_target=peak, warmup_steps=warmup_steps
    )


def build_optimizer(schedule: Any) -> keras.optimizers.Optimizer:
    """Muon: dense layers step along the orthogonalised momentum of their weights, all else as with Adam.

    Three Newton-Schulz iterations orthogonalise well enough here, and cost less than the usual five. No weight decay.
    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers"; step sizes as in Liu et al. (2025).

    Args:
        schedule: learning rate, a number or a Keras schedule.
    """
    return keras.optimizers.Muon(schedule, ns_steps=3, weight_decay=0.0, adam_weight_decay=0.0)


def shuffled_batches(
    x: np.ndarray,
    y: np.ndarray | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    corrupt: Callable[[Any, Any], Any] | None = None,
) -> Any:
    """An endless dataset of full batches in a new random order every epoch.

    A whole batch is gathered by its indices at once: shuffling image by image would cost a third of the
    time of a small model.

    Args:
        x: `(n, …)`, n ≥ batch_size.
        y: `(n, …)` targets, if they are not `x`.
        batch_size: images per batch; the n % batch_size images left over sit out that epoch.
        seed: seed of the orders, and of what `corrupt` draws.
        corrupt: a function of a batch tensor and a seed, an int tensor `(2,)` that no other batch gets; what it
            returns takes the place of the batch, whose target stays clean. Stateless random operations of
            TensorFlow repeat with the seed: `tf.random.stateless_normal(shape, seed)`.

    Returns:
        `tf.data.Dataset` of `x` batches, or of `(x, y)` batches if `y` or `corrupt` is given.

    Raises:
        ValueError: fewer images than one batch, or x and y of different length.
    """
    import tensorflow as tf

    n, steps = len(x), len(x) // batch_size
    if steps < 1:
        raise ValueError(f"{n} images do not fill one batch of {batch_size}: give more images or a smaller batch_size.")
    if y is not None and len(y) != n:
        raise ValueError(f"x and y must be of the same length, but have {n} and {len(y)}.")
    arrays = tf.constant(x) if y is None else (tf.constant(x), tf.constant(y))

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        keys = tf.random.stateless_uniform((n,), seed=[seed, tf.cast(epoch, tf.int32)])
        indices = tf.argsort(keys)[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(indices, (steps, batch_size)))

    def gather(indices: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda array: tf.gather(array, indices), arrays)

    def spoil(step: tf.Tensor, batch: Any) -> Any:
        clean, target = batch if isinstance(batch, tuple) else (batch, batch)
        noise_seed = tf.random.fold_in([seed, 1], tf.cast(step, tf.int32))
        return corrupt(clean, noise_seed), target

    batches = tf.data.Dataset.counter().flat_map(order).map(gather)
    if corrupt is not None:
        batches = batches.enumerate().map(spoil)
    return batches.prefetch(4)


@dataclass
class TrainingLog:
    """What a training measured, in nats per image, one entry per finished epoch.

    `train` is the running mean of the epoch (while the weights move, the encoder seeing Bernoulli
    draws), `validation` the held-out digits at its end; each maps `loss`, `reconstruction_loss` and
    `kl_loss` to a list. `step_loss` follows the training loss within the epochs: each entry is the mean
    since the last one, at the time `step_epochs` in epochs.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    step_epochs: list[float] = field(default_factory=list)
    step_loss: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.epoch_seconds)


class _Recorder(keras.callbacks.Callback):
    """Fills a `TrainingLog`, tells `report` about it, and stops a training that diverges."""

    def __init__(self, log: TrainingLog, steps: int, report: Any) -> None:
        super().__init__()
        self.log, self.steps, self.report = log, steps, report

    def on_train_begin(self, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.epoch_started = epoch, time.perf_counter()
        self.seen, self.summed = 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done, loss = batch + 1, logs["loss"]
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} in epoch {self.epoch + 1}, step {done}: "
                "build the model again and train it with a lower peak_learning_rate."
            )
        if done - self.seen >= self.steps // 8 or done == self.steps:  # the mean of the steps since the last point
            self.log.step_epochs.append(self.epoch + done / self.steps)
            self.log.step_loss.append((loss * done - self.summed) / (done - self.seen))
            self.seen, self.summed = done, loss * done
        self.log.seconds = time.perf_counter() - self.started
        self.report.step(self.log, (self.epoch + done / self.steps))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.log.epoch_seconds.append(time.perf_counter() - self.epoch_started)
        self.log.seconds = time.perf_counter() - self.started
        for name, value in logs.items():
            part = self.log.validation if name.startswith("val_") else self.log.train
            part.setdefault(name.removeprefix("val_"), []).append(float(value))
        self.report.epoch(self.log)


class _Lines:
    """Progress as plain lines, one per epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def step(self, log: TrainingLog, position: float) -> None:
        """Nothing between the epochs."""

    def epoch(self, log: TrainingLog) -> None:
        print(describe_epoch(log, self.epochs), flush=True)

    def end(self, log: TrainingLog) -> None:
        print(describe_end(log), flush=True)


class _Notebook:
    """Progress in a notebook: a bar with the time left, and a picture, both replaced in place."""

    def __init__(self, epochs: int, vae: Any, digits: np.ndarray) -> None:
        from IPython.display import HTML, display

        self.epochs, self.vae, self.digits = epochs, vae, digits
        self.html = HTML
        self.bar = display(HTML("Starting …"), display_id=True)
        self.picture = display(HTML(""), display_id=True)
        self.drawn = time.perf_counter()

    def step(self, log: TrainingLog, position: float) -> None:
        now = time.perf_counter()
        if now - self.drawn < 0.25:
            return
        self.drawn = now
        left = log.seconds / position * (self.epochs - position)
        loss = f"training loss {log.step_loss[-1]:.1f} nats" if log.step_loss else ""
        text = f"epoch {int(position) + 1} of {self.epochs}, about {left:.0f} s left, {loss}"
        self.bar.update(self.html(f'<progress value="{position / self.epochs:.3f}" max="1"></progress> {text}'))

    def epoch(self, log: TrainingLog) -> None:
        from IPython.display import Image

        from vae_utils import plots

        x_recon = keras.ops.convert_to_numpy(self.vae(self.digits))
        figure, _ = plots.training_progress(log, self.digits, x_recon)
        alt = f"Loss curves after {log.epochs} epochs above eight digits and their reconstructions."
        self.picture.update(Image(plots.to_png(figure), format="png", alt=alt))

    def end(self, log: TrainingLog) -> None:
        self.bar.update(self.html(describe_end(log)))


def describe_epoch(log: TrainingLog, epochs: int) -> str:
    """The last finished epoch in one line: losses in nats per image, seconds, time left."""
    train, validation = ({name: values[-1] for name, values in part.items()} for part in (log.train, log.validation))
    left = log.seconds / log.epochs * (epochs - log.epochs)
    return (
        f"epoch {log.epochs:2d}/{epochs}  train {train['loss']:.2f}  validation {validation['loss']:.2f} = "
        f"{validation['reconstruction_loss']:.2f} reconstruction + {validation['kl_loss']:.2f} KL (before beta)  "
        f"{log.epoch_seconds[-1]:.1f} s, {left:.0f} s left"
    )


def describe_end(log: TrainingLog) -> str:
    """How a training ended, in one sentence."""
    if log.interrupted:
        return (
            f"Interrupted after {log.epochs} whole epochs and {log.seconds:.0f} s: "
            "the model keeps the weights it had reached."
        )
    return (
        f"{log.epochs} epochs in {log.seconds:.0f} s. Validation loss {log.validation['loss'][-1]:.2f} nats per image."
    )


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, where a display can be replaced in place."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


def train(
    vae: Any,
    x_train: np.ndarray,
    x_validation: np.ndarray,
    *,
    y_train: np.ndarray | None = None,
    y_validation: np.ndarray | None = None,
    epochs: int = 30,
    batch_size: int = BATCH_SIZE,
    peak_learning_rate: float = PEAK_LEARNING_RATE,
    seed: int = 0,
    corrupt: Callable[[Any, Any], Any] | None = None,
    live: bool | None = None,
) -> TrainingLog:
    """Train a VAE by the course's recipe.

    Everything given is checked before the first step. An interrupt (the stop button, Ctrl-C) ends the
    training and keeps the weights reached.

    Args:
        vae: a `VAE` or a model like it, built right after `keras.utils.set_random_seed(seed)` if the run is to
            be repeatable.
        x_train: `(n, 28, 28, channels)` in [0, 1], n ≥ batch_size.
        x_validation: `(m, 28, 28, channels)` in [0, 1], m ≥ 1; never trained on.
        y_train, y_validation: targets, where they are not the images themselves (a denoising VAE).
        epochs: passes over the training images, at least 1.
        batch_size: images per step.
        peak_learning_rate: the optimizer's highest rate.
        seed: seed of the batches' order, and of what `corrupt` draws.
        corrupt: for a denoiser: a function of a batch tensor and a seed that spoils the training images anew every
            epoch, as `shuffled_batches` says; the target stays clean. Then `x_validation` is a spoilt copy of
            `y_validation`, made once.
        live: a bar and a picture in the notebook (True), plain lines (False), or whichever fits (None).

    Returns:
        the `TrainingLog`.

    Raises:
        ValueError: an image array has the wrong shape or pixels outside [0, 1] or NaN; too few images;
            epochs below 1; x and y of different lengths; `corrupt` without `y_validation`, or returning what
            breaks the image contract.
        FloatingPointError: the loss became infinite or NaN.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number of at least 1, but is {epochs!r}.")
    if corrupt is not None and y_validation is None:
        raise ValueError("With corrupt, give a corrupted copy as x_validation and the clean images as y_validation.")
    if corrupt is not None and y_train is None:
        y_train = x_train
    if (y_train is None) != (y_validation is None):
        raise ValueError("Give both y_train and y_validation, or neither.")
    channels = vae.encoder.inputs[0].shape[-1]
    x_train = check_images(x_train, "x_train", channels)
    x_validation = check_images(x_validation, "x_validation", channels)
    if y_train is not None:
        y_train = check_images(y_train, "y_train", channels)
        y_validation = check_images(y_validation, "y_validation", channels)
    if not len(x_validation):
        raise ValueError("x_validation is empty: give at least one image to validate on.")
    if corrupt is not None:
        first = keras.ops.convert_to_tensor(x_train[:1])
        check_images(keras.ops.convert_to_numpy(corrupt(first, [seed, 0])), "what corrupt returns", channels)

    batches = shuffled_batches(x_train, y_train, batch_size, seed, corrupt)
    per_execution = min(STEPS_PER_EXECUTION, len(x_train) // batch_size)
    steps = len(x_train) // batch_size // per_execution * per_execution  # whole executions only
    schedule = learning_rate_schedule(steps * epochs, peak_learning_rate)
    vae.compile(
        optimizer=build_optimizer(schedule),
        steps_per_execution=per_execution,
        jit_compile=False,  # XLA makes these convolutions several times slower on a CPU
    )

    log = TrainingLog()
    show_live = in_notebook() if live is None else live
    report = _Notebook(epochs, vae, x_validation[:SHOWN_DIGITS]) if show_live else _Lines(epochs)
    try:
        vae.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=x_validation if y_validation is None else (x_validation, y_validation),
            validation_batch_size=1000,
            callbacks=[_Recorder(log, steps, report)],
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )
    except KeyboardInterrupt:
        log.interrupted = True
    report.end(log)
    return log


def describe_recipe() -> str:
    """The recipe in one line, for the record of a run."""
    return (
        f"Muon, peak rate {PEAK_LEARNING_RATE}, {WARMUP_FRACTION:.0%} warm-up, cosine to 0, batch {BATCH_SIZE}, "
        "Bernoulli input, beta 1"
    )
