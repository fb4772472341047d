"""A convolutional variational autoencoder in one file: losses, sampler, encoder, decoder, model.

Needs Keras 3.13 and NumPy alone: copy it into your own project. Images are `(batch, height, width, channels)`
in [0, 1]; losses are in nats per image.
"""

from functools import wraps
from inspect import signature
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

Tensor = Any
ImageShape = tuple[int, int, int]


def reconstruction_loss(x: Tensor, logits: Tensor) -> Tensor:
    """Binary cross-entropy of `x` in [0, 1] and logits of the same shape, summed over the image: `(batch,)` nats.

    With p = sigmoid(logit), −x log p − (1 − x) log(1 − p) = softplus(logit) − x · logit, finite for every logit.
    Source: Kingma and Welling (2014), appendix C.1. For grey x it is the mean loss of black-and-white images drawn
    from Bernoulli(x), not a log-likelihood: the normalising constant is missing.
    """
    if tuple(x.shape[1:]) != tuple(logits.shape[1:]):
        raise ValueError(f"x and logits must have the same shape, but have {x.shape} and {logits.shape}.")
    return ops.sum(ops.softplus(logits) - x * logits, axis=tuple(range(1, len(logits.shape))))


def kl_divergence_per_dim(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL( N(μ, σ²) ‖ N(0, 1) ) = ½ (μ² + σ² − log σ² − 1) of every latent dimension, in nats, never below 0.

    μ is `z_mean`, log σ² is `z_log_var`, all `(batch, latent_dim)`. Source: Kingma and Welling (2014), appendix B.
    """
    return 0.5 * (ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1.0)


def kl_divergence(z_mean: Tensor, z_log_var: Tensor) -> Tensor:
    """KL divergence of q(z|x) from the standard normal prior, summed over the dimensions: `(batch,)` nats."""
    return ops.sum(kl_divergence_per_dim(z_mean, z_log_var), axis=-1)


@keras.saving.register_keras_serializable("vae_utils")
class Sampler(layers.Layer):
    """Draws z from q(z|x) by the reparameterisation trick: z = z_mean + exp(z_log_var / 2) · ε, ε ~ N(0, 1).

    With a seed, every run draws the same ε; without one, a run repeats after `keras.utils.set_random_seed`.
    Source: Kingma and Welling (2014), section 2.4.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed, self.seed_generator = seed, keras.random.SeedGenerator(seed)

    def call(self, z_mean: Tensor, z_log_var: Tensor) -> Tensor:
        """`(batch, latent_dim)` twice -> one draw `(batch, latent_dim)`."""
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon


def build_encoder(latent_dim: int, image_shape: ImageShape = (28, 28, 1)) -> keras.Model:
    """Convolutions and dense layers: `(batch, *image_shape)` in [0, 1] -> `[z_mean, z_log_var]`, `(batch, latent_dim)`.

    The convolutions divide the height and width in `image_shape` by 4, then by 2: both must be multiples of 4, else
    ValueError. The dense layers have the same width for every image.
    """
    check_sizes(latent_dim, image_shape)
    x = keras.Input(image_shape, name="image")
    h = layers.Conv2D(32, 8, strides=4, padding="same", activation="gelu", name="conv_1")(x)  # 28x28x1 -> 7x7x32
    h = layers.Conv2D(64, 3, strides=2, padding="same", activation="gelu", name="conv_2")(h)  # -> 4x4x64
    h = layers.Flatten(name="flatten")(h)  # -> 1024
    for name in ("dense_1", "dense_2", "dense_3"):
        h = layers.Dense(128, activation="gelu", name=name)(h)  # -> 128
    z_mean = layers.Dense(latent_dim, name="z_mean")(h)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(h)
    return keras.Model(x, [z_mean, z_log_var], name="encoder")


@keras.saving.register_keras_serializable("vae_utils")
class PixelBias(layers.Layer):
    """Adds one learned number to every pixel."""

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=input_shape[1:], initializer="zeros", name="bias")

    def call(self, x: Tensor) -> Tensor:
        return x + self.bias


def build_decoder(latent_dim: int, image_shape: ImageShape = (28, 28, 1), log_odds: Any = None) -> keras.Model:
    """Dense layers and a transposed convolution: `(batch, latent_dim)` -> logits `(batch, *image_shape)`.

    The last dense layer makes feature maps of a quarter of the image's height and width: both must be multiples of 4,
    else ValueError. The first one starts with large weights and scattered biases: its units respond to different
    regions of the latent space. `log_odds` (`image_shape`, see `data.pixel_log_odds`) starts training at a given image.
    """
    check_sizes(latent_dim, image_shape)
    log_odds = np.zeros(image_shape) if log_odds is None else log_odds
    if np.shape(log_odds) != tuple(image_shape) or not np.isfinite(log_odds).all():
        raise ValueError(f"log_odds must be finite and of shape {image_shape}, but has {np.shape(log_odds)}.")
    height, width, channels = image_shape
    spread = 2 / latent_dim  # each unit sums over latent_dim inputs
    wide, scattered = initializers.RandomNormal(stddev=spread), initializers.RandomUniform(-2 * spread, 2 * spread)
    z = keras.Input((latent_dim,), name="z")
    h = layers.Dense(192, "gelu", kernel_initializer=wide, bias_initializer=scattered, name="dense_1")(z)  # 2 -> 192
    h = layers.Dense(192, "gelu", name="dense_2")(h)
    h = layers.Dense(192, "gelu", name="dense_3")(h)
    h = layers.Dense(height // 4 * (width // 4) * 24, "gelu", name="dense_4")(h)  # -> 1176
    h = layers.Reshape((height // 4, width // 4, 24), name="reshape")(h)  # -> 7x7x24
    h = layers.Conv2DTranspose(channels, 12, strides=4, padding="same", use_bias=False, name="conv_transpose")(h)
    pixel_bias = PixelBias(name="logits")
    decoder = keras.Model(z, pixel_bias(h), name="decoder")  # -> 28x28x1
    pixel_bias.bias.assign(log_odds)
    return decoder


def check_sizes(latent_dim: int, image_shape: ImageShape) -> None:
    """Raise ValueError unless an encoder and a decoder can be built for these sizes."""
    sizes = np.append(latent_dim, image_shape)
    if len(sizes) != 4 or sizes.dtype.kind not in "iu" or sizes.min() < 1 or (sizes[1:3] % 4).any():
        sizes = f"latent_dim={latent_dim!r}, image_shape={image_shape!r}"
        raise ValueError(f"{sizes}: sizes must be whole numbers of at least 1, height and width multiples of 4.")


def check_images(x: Any, image_shape: ImageShape | None = None, name: str = "x") -> np.ndarray:
    """`x` as float32 if it is `(batch, *image_shape)` in [0, 1], grey or RGB of any size without `image_shape`.

    A batch may be empty. Raises a ValueError that calls the array `name`.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all():
        raise ValueError(f"{name} must hold finite numbers, but holds NaN, infinity or the type {x.dtype}.")
    if x.ndim != 4 or (x.shape[-1] not in (1, 3) if image_shape is None else x.shape[1:] != tuple(image_shape)):
        wanted = "height, width, 1 or 3" if image_shape is None else ", ".join(map(str, image_shape))
        hint = " (add the missing batch or channel axis, for example x[..., np.newaxis])" if x.ndim in (2, 3) else ""
        raise ValueError(f"{name} must have the shape (batch, {wanted}), but has {x.shape}{hint}.")
    if x.size and (x.min() < 0 or x.max() > 1):
        raise ValueError(f"{name} must lie in [0, 1], not {x.min():.3g} to {x.max():.3g}: divide by 255, or clip.")
    return x.astype(np.float32, copy=False)


def with_checked_arrays(method: Any) -> Any:
    """`keras.Model.fit` or `evaluate`, with the same signature, that first checks images given as NumPy arrays."""

    @wraps(method)
    def checked(self: "VAE", *args: Any, **kwargs: Any) -> Any:
        given = signature(method).bind(self, *args, **kwargs).arguments
        validation = given.get("validation_data")
        arrays = [given.get("x"), given.get("y"), *(validation if isinstance(validation, (tuple, list)) else ())]
        for name, array in zip(("x", "y", "validation x", "validation y"), arrays, strict=False):
            if isinstance(array, np.ndarray):
                check_images(array, self.image_shape, name)
        return method(self, *args, **kwargs)

    return checked


@keras.saving.register_keras_serializable("vae_utils")
class VAE(keras.Model):
    """A variational autoencoder: `compile`, `fit(x)`, `evaluate(x)`, save and load as with any Keras model.

    The loss is the negative ELBO with one draw of z per image, `reconstruction_loss + beta * kl_loss`, plus the
    penalties of regularisers. `fit(x, y)` encodes x and reconstructs y. `vae(x)` is decoded from `z_mean`.
    `encoder` maps `(batch, *image_shape)` to `[z_mean, z_log_var]`, each `(batch, latent_dim)`, `decoder` maps
    `(batch, latent_dim)` to logits `(batch, *image_shape)`, else ValueError. `vae.beta = 4` also works between two
    `fit`. Source: Kingma and Welling (2014), equation 10; beta: Higgins et al. (2017), "beta-VAE".
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, beta: float = 1.0, seed: Any = None, **kwargs):
        super().__init__(**kwargs)
        if not all(isinstance(part, keras.Model) and getattr(part, "inputs", None) for part in (encoder, decoder)):
            raise ValueError("encoder and decoder must be Keras models with a keras.Input, as build_encoder makes one.")
        image, code, codes = encoder.inputs[0].shape, decoder.inputs[0].shape, [z.shape for z in encoder.outputs]
        if codes != [code, code] or decoder.outputs[0].shape != image:
            raise ValueError(f"Encoder {image} -> {codes} and decoder {code} -> {decoder.outputs[0].shape} do not fit.")
        self.encoder, self.decoder, self.sampler = encoder, decoder, Sampler(seed)
        self.image_shape, self.latent_dim = tuple(image[1:]), code[-1]
        object.__setattr__(self, "beta_variable", keras.Variable(1.0, trainable=False))  # a setting: never saved
        self.beta = beta
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")
        self.in_step = self.supports_jit = False  # XLA makes these convolutions slower on a CPU
        self.built = True

    fit = with_checked_arrays(keras.Model.fit)
    evaluate = with_checked_arrays(keras.Model.evaluate)

    @property
    def beta(self) -> float:
        return float(self.beta_variable.numpy())

    @beta.setter
    def beta(self, value: float) -> None:
        if not (isinstance(value, (int, float, np.number)) and 0 <= value < np.inf):
            raise ValueError(f"beta must be a number of 0 or more, but is {value!r}.")
        self.beta_variable.assign(value)

    def call(self, x: Tensor, training: bool = False) -> Any:
        """Images -> reconstructions in [0, 1], decoded from `z_mean`; within `fit` and `evaluate`, the loss's input."""
        z_mean, z_log_var = self.encoder(x, training=training)
        if self.in_step:
            return self.decoder(self.sampler(z_mean, z_log_var), training=training), z_mean, z_log_var
        return ops.sigmoid(self.decoder(z_mean, training=training))

    def train_step(self, *args: Any) -> Any:
        return self.run_step(super().train_step, *args)

    def test_step(self, *args: Any) -> Any:
        return self.run_step(super().test_step, *args)

    def run_step(self, step: Any, *args: Any) -> Any:
        """One of Keras' steps, in which `call` gives `compute_loss` what it needs from one forward pass."""
        self.in_step = True
        try:
            return step(*args)
        finally:
            self.in_step = False

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> Tensor:
        """The loss of a batch in nats per image; the only mean over the batch is taken here."""
        logits, z_mean, z_log_var = y_pred
        reconstruction, kl = reconstruction_loss(x if y is None else y, logits), kl_divergence(z_mean, z_log_var)
        self.reconstruction_tracker.update_state(reconstruction, sample_weight)
        self.kl_tracker.update_state(kl, sample_weight)
        loss = reconstruction + self.beta_variable * kl
        self.add_loss(ops.mean(loss if sample_weight is None else loss * sample_weight))
        return super().compute_loss(x, y, y_pred, sample_weight, training)  # with the penalties of regularisers

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(batch, *image_shape)` in [0, 1] -> `z_mean`, `z_log_var`, each `(batch, latent_dim)`; else ValueError."""
        return tuple(run_in_batches(self.encoder, check_images(x, self.image_shape)))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """`(batch, latent_dim)`, finite -> probabilities `(batch, *image_shape)` in [0, 1]; else ValueError."""
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.latent_dim or not np.isfinite(z).all():
            raise ValueError(f"z must be finite and of shape (batch, {self.latent_dim}), but has {z.shape}.")
        return run_in_batches(lambda part: [ops.sigmoid(self.decoder(part))], z)[0]

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """`(batch, *image_shape)` in [0, 1] -> the same shape, decoded from `z_mean`; else ValueError."""
        return self.decode(self.encode(x)[0])

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("encoder", "decoder")}
        return {"name": self.name, "beta": self.beta, "seed": self.sampler.seed, **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VAE":
        load = keras.saving.deserialize_keras_object
        return cls(**{**config, "encoder": load(config["encoder"]), "decoder": load(config["decoder"])})


def run_in_batches(function: Any, x: np.ndarray, batch_size: int = 1000) -> list[np.ndarray]:
    """The outputs of `function` for the rows of `x`, computed a thousand at a time; `x` may be empty."""
    rows = x if len(x) else np.zeros((1, *x.shape[1:]), x.dtype)  # convolutions refuse an empty batch
    outputs = zip(*(function(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)), strict=True)
    return [np.concatenate([ops.convert_to_numpy(part) for part in output])[: len(x)] for output in outputs]
