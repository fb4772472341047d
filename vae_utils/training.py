"""Training by one recipe: Muon, a rate that warms up and falls along a cosine, new random batches in every epoch."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from vae_utils.backend import keras
from vae_utils.progress import Progress
from vae_utils.vae import check_images

BATCH_SIZE = 256
WARMUP_FRACTION = 0.1
STEPS_PER_EXECUTION = 8  # training steps that one call of TensorFlow takes
SHOWN_IMAGES = 8

Corruption = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def learning_rate_schedule(steps: int, peak: float) -> keras.optimizers.schedules.CosineDecay:
    """From 0 up to `peak` in the first tenth of `steps`, then along a cosine to 0.

    Source: Loshchilov and Hutter (2017), "SGDR", one cycle; warm-up as in Goyal et al. (2017).
    Raises ValueError unless `steps` is at least 1 and `peak` above 0.
    """
    if steps < 1 or not peak > 0:
        raise ValueError(f"steps must be at least 1 and the peak learning rate above 0, but are {steps} and {peak}.")
    warmup = max(1, round(WARMUP_FRACTION * steps))
    return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup)


def build_optimizer(schedule: Any) -> keras.optimizers.Optimizer:
    """Muon: dense layers step along the orthogonalised momentum of their weights, all else as with Adam.

    Three Newton-Schulz iterations instead of five are as good here, and faster; the weight decay of the dense layers
    keeps the models from memorising. `schedule` is a number or a Keras schedule.
    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers"; step sizes as in Liu et al. (2025).
    """
    return keras.optimizers.Muon(schedule, ns_steps=3, weight_decay=0.1, adam_weight_decay=None)


@dataclass(frozen=True)
class BernoulliDraws:
    """Black-and-white draws: each pixel is 1 with the probability that is its grey level, else 0.

    New draws in every epoch keep the encoder from memorising the training images.
    """

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`(batch, …)` in [0, 1] and a seed of two ints -> the same shape, 0s and 1s."""
        return tf.cast(tf.random.stateless_uniform(tf.shape(x), seed) < x, x.dtype)


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian noise, clipped to [0, 1], on a random `share` of the images; the others stay as they are.

    Its standard deviation before clipping is drawn for each image, uniform between `lowest` and `highest`.
    """

    lowest: float = 0.1
    highest: float = 0.8
    share: float = 0.7

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`(batch, height, width, channels)` in [0, 1] and a seed of two ints -> the same shape in [0, 1]."""
        level_seed, share_seed, noise_seed = tf.unstack(tf.random.split(seed, 3))
        per_image = (tf.shape(x)[0], 1, 1, 1)
        level = tf.random.stateless_uniform(per_image, level_seed, self.lowest, self.highest)
        level = tf.where(tf.random.stateless_uniform(per_image, share_seed) < self.share, level, 0.0)
        return tf.clip_by_value(x + level * tf.random.stateless_normal(tf.shape(x), noise_seed), 0.0, 1.0)


def shuffled_batches(
    x: np.ndarray, batch_size: int = BATCH_SIZE, seed: int = 0, corrupt: Corruption | None = None
) -> tf.data.Dataset:
    """All full batches once, in a new random order at every iteration.

    `x` is `(n, …)`; the n % batch_size images left over sit out that iteration. Gives batches of `x`, or pairs
    (corrupted batch, batch) if there is a `corrupt`: a function of a batch and a seed, an int tensor `(2,)`, another
    one for every batch. `seed` is that of the orders, and of what `corrupt` draws. ValueError if `batch_size` is below
    1 or above n. A batch is gathered by its indices at once, which is faster than shuffling image by image.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, but is {batch_size!r}.")
    if batch_size > len(x):
        raise ValueError(f"{len(x)} images do not fill one batch of {batch_size}: choose a smaller batch_size.")
    images = tf.constant(x)
    indices = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed).batch(batch_size, drop_remainder=True)
    batches = indices.map(lambda chosen: tf.gather(images, chosen))
    if corrupt is not None:
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
        batches = tf.data.Dataset.zip(batches, seeds).map(lambda batch, two: (corrupt(batch, two), batch))
    return batches.prefetch(4)


@dataclass
class TrainingLog:
    """What a training was and what it measured, in nats per image, one entry per finished epoch.

    `train` is the running mean over the epoch, while the weights change and with the corrupted inputs; `validation`
    is measured at its end. Each maps `loss`, `reconstruction_loss` and `kl_loss` (as far as the model has them) to a
    list. `step_loss` follows the training loss within the epochs: the mean since the entry before, at the time
    `step_epochs` in epochs. `recipe` holds the settings that were used.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    train: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    step_epochs: list[float] = field(default_factory=list)
    step_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.train.get("loss", ()))


class Recorder(keras.callbacks.Callback):
    """Fills a `TrainingLog`, reports to a progress display, and stops a training that diverges."""

    def __init__(self, log: TrainingLog, steps: int, progress: Any) -> None:
        super().__init__()
        self.log, self.steps, self.progress, self.started = log, steps, progress, time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.seen, self.summed = epoch, 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done, loss = min(batch + 1, self.steps), logs["loss"]  # the last execution may have fewer steps
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} in epoch {self.epoch + 1}, step {done}: "
                "build the model again and train it with a lower peak_learning_rate."
            )
        if done - self.seen >= self.steps / 8 or done == self.steps:  # the mean of the steps since the last point
            self.log.step_epochs.append(self.epoch + done / self.steps)
            self.log.step_loss.append((loss * done - self.summed) / (done - self.seen))
            self.seen, self.summed = done, loss * done
        self.log.seconds = time.perf_counter() - self.started
        self.progress.show_step(self.log, self.epoch + done / self.steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.log.seconds = time.perf_counter() - self.started
        for name, value in logs.items():
            part = self.log.validation if name.startswith("val_") else self.log.train
            part.setdefault(name.removeprefix("val_"), []).append(float(value))
        self.progress.show_epoch(self.log)


def train(
    model: keras.Model,
    x_train: np.ndarray,
    x_validation: np.ndarray,
    *,
    y_validation: np.ndarray | None = None,
    epochs: int = 30,
    batch_size: int = BATCH_SIZE,
    peak_learning_rate: float | None = None,
    seed: int = 0,
    corrupt: Corruption | None = None,
    live: bool | None = None,
) -> TrainingLog:
    """Train a `VAE` (or a denoiser of this package) by the course's recipe.

    Everything given is checked before the first step. An interrupt (the stop button, Ctrl-C) ends the training and
    keeps the weights reached. Layers that are frozen (`model.decoder.trainable = False`) stay as they are. For several
    devices build the model within the scope of a `tf.distribute` strategy.

    Args:
        model: built right after `keras.utils.set_random_seed(seed)` if the run is to be repeatable.
        x_train: `(n, *image_shape)` in [0, 1], n ≥ batch_size: what the model learns to reconstruct.
        x_validation: `(m, *image_shape)` in [0, 1], m ≥ 1: what the encoder sees in validation.
        y_validation: `(m, *image_shape)`, what it should reconstruct then; `x_validation` itself if left out.
        epochs: passes over all full batches, at least 1.
        batch_size: images per step, on all devices together, a multiple of their number; the m % devices last
            validation images are left out.
        peak_learning_rate: the optimizer's highest rate; if left out, a thousandth per latent dimension, at most 8e-3.
        seed: seed of the order of the batches, and of what `corrupt` draws.
        corrupt: what the encoder sees of the training images, new in every epoch: `BernoulliDraws()`,
            `GaussianNoise(…)`, or a function of a batch tensor and a seed; the images themselves if left out.
        live: a bar and a picture in the notebook (True), plain lines (False), or whichever fits (None).

    Raises:
        ValueError: an array, a number or what `corrupt` returns is not as described.
        FloatingPointError: the loss became infinite or NaN.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number of at least 1, but is {epochs!r}.")
    if not hasattr(model, "image_shape"):
        raise ValueError(f"model must be a VAE, for example VAE(build_encoder(2), build_decoder(2)), not {model!r}.")
    x_train = check_images(x_train, model.image_shape, "x_train")
    x_validation = check_images(x_validation, model.image_shape, "x_validation")
    y_validation = x_validation if y_validation is None else y_validation
    y_validation = check_images(y_validation, model.image_shape, "y_validation")
    if not len(x_validation) or len(y_validation) != len(x_validation):
        raise ValueError("x_validation must hold at least one image, and y_validation as many.")
    if corrupt is not None:
        if not callable(corrupt):
            raise ValueError(f"corrupt must be a function (batch, seed), such as BernoulliDraws(), but is {corrupt!r}.")
        corrupted = corrupt(tf.constant(x_train[:2]), tf.constant([seed, 0], tf.int64))
        if len(check_images(corrupted, model.image_shape, "what corrupt returns")) != len(x_train[:2]):
            raise ValueError(f"corrupt must return as many images as it is given, but returns {corrupted.shape}.")
    batches, steps = shuffled_batches(x_train, batch_size, seed, corrupt), len(x_train) // batch_size
    peak = min(getattr(model, "latent_dim", 8), 8) / 1000 if peak_learning_rate is None else peak_learning_rate
    schedule = learning_rate_schedule(steps * epochs, peak)
    strategy = model.distribute_strategy
    devices = strategy.num_replicas_in_sync
    whole = len(x_validation) // devices * devices  # Keras needs as many images on every device
    if batch_size % devices or not whole:
        raise ValueError(f"On {devices} devices batch_size must be a multiple of {devices}, and x_validation as long.")
    with strategy.scope():  # the optimizer's variables belong on the model's devices
        optimizer = build_optimizer(schedule)
        optimizer.build(model.trainable_variables)  # else TensorFlow traces the training step twice: seconds
    joined = min(STEPS_PER_EXECUTION, steps) if devices == 1 else 1  # Keras cannot join the steps of several devices
    model.compile(optimizer, steps_per_execution=joined, jit_compile=False)
    log = TrainingLog(
        recipe={
            "optimizer": type(optimizer).__name__,
            "newton_schulz_steps": optimizer.ns_steps,
            "weight_decay": optimizer.weight_decay,
            "peak_learning_rate": peak,
            "warmup_steps": schedule.warmup_steps,
            "steps_per_epoch": steps,
            "epochs": epochs,
            "batch_size": batch_size,
            "train_images": len(x_train),
            "trained_parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
            "encoder_input": "the images" if corrupt is None else getattr(corrupt, "__name__", repr(corrupt)),
            "beta": getattr(model, "beta", None),
            "seed": seed,
        }
    )
    progress = Progress(model, epochs, x_validation[:SHOWN_IMAGES], live)
    try:
        model.fit(
            batches,
            epochs=epochs,
            shuffle=False,  # the batches are shuffled already
            validation_data=(x_validation[:whole], y_validation[:whole]),
            validation_batch_size=1000 // devices * devices,
            callbacks=[Recorder(log, steps, progress)],
            verbose=0,
        )
    except KeyboardInterrupt:
        log.interrupted = True
    progress.end(log)
    return log
