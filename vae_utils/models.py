"""The models room: a convolutional encoder and decoder, and the VAE that joins them.

Written with `keras.ops` and Keras layers alone. Nothing here draws a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vae_utils.backend import compiled, keras
from vae_utils.data import check_images
from vae_utils.losses import kl_divergence, reconstruction_loss

layers, ops = keras.layers, keras.ops
Tensor = Any

ACTIVATION = "gelu"
_register = keras.saving.register_keras_serializable(package="vae_utils")


def _check_latent_dim(latent_dim: int) -> None:
    if isinstance(latent_dim, bool) or not isinstance(latent_dim, (int, np.integer)) or latent_dim < 1:
        raise ValueError(f"latent_dim must be a whole number of at least 1, but is {latent_dim!r}.")


def build_encoder(latent_dim: int) -> keras.Model:
    """The encoder: two convolutions and a dense layer, from an image to the Gaussian of its code.

    Args:
        latent_dim: size of the code, at least 1.

    Returns:
        a model `(batch, 28, 28, 1) in [0, 1]` -> `[z_mean, z_log_var]`, each `(batch, latent_dim)`.

    Raises:
        ValueError: `latent_dim` is no whole number of at least 1.
    """
    _check_latent_dim(latent_dim)
    x = keras.Input((28, 28, 1), name="image")
    h = layers.Conv2D(32, 8, strides=4, padding="same", activation=ACTIVATION, name="conv_1")(x)  # -> 7x7x32
    h = layers.Conv2D(64, 3, strides=2, padding="same", activation=ACTIVATION, name="conv_2")(h)  # -> 4x4x64
    h = layers.Flatten(name="flatten")(h)  # -> 1024
    h = layers.Dense(64, activation=ACTIVATION, name="dense")(h)
    z_mean = layers.Dense(latent_dim, name="z_mean")(h)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(h)
    return keras.Model(x, [z_mean, z_log_var], name="encoder")


@_register
class PixelBias(layers.Layer):
    """Adds one learned number to every pixel: what the picture is when nothing else speaks."""

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=input_shape[1:], initializer="zeros", name="bias")

    def call(self, x: Tensor) -> Tensor:
        """`(batch, height, width, channels)` -> the same shape."""
        return x + self.bias


def build_decoder(latent_dim: int, log_odds: np.ndarray | None = None) -> keras.Model:
    """The decoder: dense layers that bend the latent space, a transposed convolution that paints, a pixel bias.

    The first layer starts with wide weights and scattered biases, so that its units look at different
    regions of the latent space from the first step; with the usual start all of them bend at the origin.

    Args:
        latent_dim: size of the code, at least 1.
        log_odds: `(28, 28, 1)` first value of the pixel bias; `data.pixel_log_odds(x_train)` starts the
            decoder at the average digit, which saves epochs. Zero if left out.

    Returns:
        a model `(batch, latent_dim)` -> logits `(batch, 28, 28, 1)`.

    Raises:
        ValueError: `latent_dim` is no whole number of at least 1.
    """
    _check_latent_dim(latent_dim)
    spread = 2 / latent_dim  # the more dimensions, the more of them add up in every unit
    z = keras.Input((latent_dim,), name="z")
    h = layers.Dense(
        128,
        activation=ACTIVATION,
        kernel_initializer=keras.initializers.RandomNormal(stddev=spread),
        bias_initializer=keras.initializers.RandomUniform(-2 * spread, 2 * spread),
        name="dense_1",
    )(z)
    h = layers.Dense(128, activation=ACTIVATION, name="dense_2")(h)
    h = layers.Dense(128, activation=ACTIVATION, name="dense_3")(h)
    h = layers.Dense(7 * 7 * 16, activation=ACTIVATION, name="dense_4")(h)
    h = layers.Reshape((7, 7, 16), name="reshape")(h)  # -> 7x7x16
    h = layers.Conv2DTranspose(1, 12, strides=4, padding="same", use_bias=False, name="paint")(h)  # -> 28x28x1
    pixel_bias = PixelBias(name="logits")
    decoder = keras.Model(z, pixel_bias(h), name="decoder")
    if log_odds is not None:
        pixel_bias.bias.assign(log_odds)
    return decoder


@_register
class Sampler(layers.Layer):
    """Draws z from the encoder's Gaussian by the reparameterisation trick: z = z_mean + exp(z_log_var / 2) · ε.

    Owns its seeded `SeedGenerator`, so two runs with one seed draw the same ε.
    Source: Kingma and Welling (2014), section 2.4.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, z_mean: Tensor, z_log_var: Tensor) -> Tensor:
        """`(batch, latent_dim)` twice -> one draw `(batch, latent_dim)`."""
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@_register
class VAE(keras.Model):
    """A variational autoencoder: `compile`, `fit(x)`, `evaluate(x)`, save and load as any Keras model.

    `vae(x)` is the reconstruction in [0, 1], decoded from `z_mean`. The loss is the negative ELBO with
    one draw of z per image, `reconstruction_loss + beta * kl_loss`, in nats per image.
    Source: Kingma and Welling (2014), equation 10; β: Higgins et al. (2017), "beta-VAE".

    Args:
        encoder: model `(batch, 28, 28, channels)` -> `[z_mean, z_log_var]`, each `(batch, latent_dim)`.
        decoder: model `(batch, latent_dim)` -> logits `(batch, 28, 28, channels)`.
        beta: weight of the KL divergence; 1 is the ELBO.
        bernoulli_input: in training, show the encoder a black-and-white draw of each image, every pixel
            white with the probability that is its grey level, while the target stays grey. New draws
            every epoch keep the encoder from memorising the training digits.
        seed: seed of the sampler.

    Raises:
        ValueError: encoder and decoder do not fit together, or `beta` is negative.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        beta: float = 1.0,
        bernoulli_input: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False  # Keras would choose XLA, which makes these convolutions slower on a CPU
        if not beta >= 0:
            raise ValueError(f"beta must be 0 or more, but is {beta}.")
        if len(encoder.outputs) != 2 or encoder.outputs[0].shape[1:] != decoder.inputs[0].shape[1:]:
            raise ValueError(
                "The encoder must give [z_mean, z_log_var] of the decoder's input size, but gives "
                f"{[output.shape for output in encoder.outputs]} for a decoder of {decoder.inputs[0].shape}."
            )
        self.encoder, self.decoder = encoder, decoder
        self.beta, self.bernoulli_input, self.seed = float(beta), bernoulli_input, seed
        self.latent_dim = int(decoder.inputs[0].shape[-1])
        self.sampler = Sampler(seed)
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")
        self.build(encoder.inputs[0].shape)

    def build(self, input_shape: Any) -> None:
        self.sampler.build(None)
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Images `(batch, 28, 28, channels)` -> reconstructions of the same shape in [0, 1]."""
        z_mean, _ = self.encoder(x, training=training)
        return ops.sigmoid(self.decoder(z_mean, training=training))

    def elbo_terms(self, x: Tensor, target: Tensor | None = None, training: bool = False) -> tuple[Tensor, Tensor]:
        """Reconstruction loss and KL divergence of every image, with one draw of z.

        Args:
            x: `(batch, 28, 28, channels)` in [0, 1], what the encoder sees.
            target: what the decoder should give; `x` if left out. A denoising VAE has the clean image here.
            training: draw black-and-white inputs if the model is built to.

        Returns:
            `(batch,)` nats each: reconstruction loss, KL divergence (not weighted by β).
        """
        target = x if target is None else target
        if training and self.bernoulli_input:
            threshold = keras.random.uniform(ops.shape(x), seed=self.sampler.seed_generator)
            x = ops.cast(threshold < x, x.dtype)
        z_mean, z_log_var = self.encoder(x, training=training)
        logits = self.decoder(self.sampler(z_mean, z_log_var), training=training)
        return reconstruction_loss(target, logits), kl_divergence(z_mean, z_log_var)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch, a scalar in nats per image; called by `fit` and `evaluate`.

        `y_pred` is not used, so the compiled step never computes it: the loss needs logits and a draw
        of z, which `elbo_terms` makes. This is the one place where the mean over the batch is taken.
        """
        if sample_weight is not None:
            raise ValueError("VAE has no sample weights: leave sample_weight out.")
        reconstruction, kl = self.elbo_terms(x, y, training=training)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return ops.mean(reconstruction + self.beta * kl)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """As in Keras; arrays are checked before the first step."""
        channels = self.encoder.inputs[0].shape[-1]
        x = check_images(x, "x", channels) if isinstance(x, np.ndarray) else x
        y = check_images(y, "y", channels) if isinstance(y, np.ndarray) else y
        return super().fit(x, y, **kwargs)

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's Gaussian for every image.

        Args:
            x: `(batch, 28, 28, channels)` in [0, 1]; the batch may be empty.

        Returns:
            `(z_mean, z_log_var)`, each `(batch, latent_dim) float32`.

        Raises:
            ValueError: wrong shape, NaN, or pixels outside [0, 1].
        """
        x = check_images(x, "x", self.encoder.inputs[0].shape[-1])
        z_mean, z_log_var = _in_batches(self.encoder, x)
        return z_mean, z_log_var

    def decode(self, z: np.ndarray) -> np.ndarray:
        """The decoder's image for every point of the latent space.

        Args:
            z: `(batch, latent_dim)`; the batch may be empty.

        Returns:
            `(batch, 28, 28, channels) float32` probabilities in [0, 1].

        Raises:
            ValueError: wrong shape, NaN or infinite.
        """
        z = np.asarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z must have the shape (batch, {self.latent_dim}), but has {z.shape}.")
        if not np.isfinite(z).all():
            raise ValueError("z holds NaN or infinite numbers.")
        return _in_batches(lambda part: [ops.sigmoid(self.decoder(part))], z)[0]

    def get_config(self) -> dict[str, Any]:
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "beta": self.beta,
            "bernoulli_input": self.bernoulli_input,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> VAE:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("encoder", "decoder")
        }
        return cls(**{**config, **parts})


@_register
class DenoisingAutoencoder(keras.Model):
    """An autoencoder without a Gaussian: `fit(noisy, clean)` with the reconstruction loss alone.

    `model(x)` is the cleaned image in [0, 1]. Its log has the names of a VAE's, with a KL divergence of 0.
    Source: Vincent et al. (2008), "Extracting and composing robust features with denoising autoencoders".

    Args:
        encoder: model `(batch, 28, 28, channels)` -> feature maps, one or several.
        decoder: model of the same feature maps -> logits `(batch, 28, 28, channels)`.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False
        self.encoder, self.decoder = encoder, decoder
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl_loss")
        self.build(encoder.inputs[0].shape)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Images `(batch, 28, 28, channels)` -> cleaned images of the same shape in [0, 1]."""
        return ops.sigmoid(self.decoder(self.encoder(x, training=training), training=training))

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch, a scalar in nats per image; `y` is the clean image, `x` itself if left out."""
        if sample_weight is not None:
            raise ValueError("DenoisingAutoencoder has no sample weights: leave sample_weight out.")
        logits = self.decoder(self.encoder(x, training=training), training=training)
        reconstruction = reconstruction_loss(x if y is None else y, logits)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(ops.zeros_like(reconstruction))
        return ops.mean(reconstruction)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """The cleaned images.

        Args:
            x: `(batch, 28, 28, channels)` in [0, 1]; the batch may be empty.

        Returns:
            the same shape, float32 in [0, 1].

        Raises:
            ValueError: wrong shape, NaN, or pixels outside [0, 1].
        """
        return _in_batches(lambda part: [self(part)], check_images(x, "x", self.encoder.inputs[0].shape[-1]))[0]

    def get_config(self) -> dict[str, Any]:
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DenoisingAutoencoder:
        return cls(**{k: keras.saving.deserialize_keras_object(v, custom_objects) for k, v in config.items()})


def build_denoising_autoencoder(log_odds: np.ndarray | None = None) -> DenoisingAutoencoder:
    """A small U-shaped denoiser: two convolutions down to 7×7, two transposed ones up, a short cut at 14×14.

    Nothing squeezes the image into a code of a few numbers, so it can keep where a stroke lies to the pixel.
    Source of the short cut: Ronneberger, Fischer and Brox (2015), "U-Net".

    Args:
        log_odds: `(28, 28, 1)` first value of the pixel bias, see `build_decoder`. Zero if left out.

    Returns:
        an untrained `DenoisingAutoencoder`, `(batch, 28, 28, 1)` -> the same shape.
    """
    x = keras.Input((28, 28, 1), name="image")
    half = layers.Conv2D(16, 5, strides=2, padding="same", activation=ACTIVATION, name="conv_1")(x)  # -> 14x14x16
    h = layers.Conv2D(32, 3, strides=2, padding="same", activation=ACTIVATION, name="conv_2")(half)  # -> 7x7x32
    quarter = layers.Conv2D(32, 3, padding="same", activation=ACTIVATION, name="conv_3")(h)  # -> 7x7x32
    encoder = keras.Model(x, [half, quarter], name="encoder")

    half, quarter = (
        keras.Input(output.shape[1:], name=name)
        for name, output in zip(("half", "quarter"), encoder.outputs, strict=True)
    )
    h = layers.Conv2DTranspose(16, 4, strides=2, padding="same", activation=ACTIVATION, name="up_1")(quarter)
    h = layers.Concatenate(name="short_cut")([h, half])  # -> 14x14x32
    h = layers.Conv2DTranspose(1, 6, strides=2, padding="same", use_bias=False, name="paint")(h)  # -> 28x28x1
    pixel_bias = PixelBias(name="logits")
    decoder = keras.Model([half, quarter], pixel_bias(h), name="decoder")
    if log_odds is not None:
        pixel_bias.bias.assign(log_odds)
    return DenoisingAutoencoder(encoder, decoder)


def _in_batches(function: Any, x: np.ndarray, batch_size: int = 1000) -> list[np.ndarray]:
    """`function` over `x`, a thousand rows at a time, each of its outputs joined again; `x` may be empty."""
    rows = x if len(x) else np.zeros((1, *x.shape[1:]), x.dtype)  # convolutions do not take an empty batch
    parts = [function(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    joined = [np.concatenate([ops.convert_to_numpy(part) for part in output]) for output in zip(*parts, strict=True)]
    return [output[: len(x)] for output in joined]


def layer_table(model: keras.Model) -> list[tuple[str, str, str]]:
    """What a drawing of a functional model shows: its layers in order, outputs side by side in one entry.

    Args:
        model: a functional Keras model, a chain up to its outputs.

    Returns:
        one `(what it is, output shape without the batch, parameters)` per layer, as text.
    """
    rows = []
    for layer in model.layers:
        shape = " × ".join(str(size) for size in layer.output.shape[1:])
        parameters = f"{layer.count_params():,} parameters" if layer.count_params() else ""
        rows.append((_describe_layer(layer), shape, parameters))
    heads = len(model.outputs)
    if heads > 1:
        what, shapes, parameters = zip(*rows[-heads:], strict=True)
        rows[-heads:] = [("  |  ".join(what), "  |  ".join(shapes), "  |  ".join(parameters))]
    return rows


def network_table(encoder: keras.Model, decoder: keras.Model) -> dict[str, list[tuple[str, str, str]]]:
    """The columns of a VAE's drawing for `plots.architecture`: the encoder with the sampler, and the decoder."""
    sampler = ("z: Sampler, a draw from the cloud", str(decoder.inputs[0].shape[-1]), "")
    return {"Encoder": [*layer_table(encoder), sampler], "Decoder": layer_table(decoder)}


def _describe_layer(layer: keras.layers.Layer) -> str:
    """`Conv2D 8×8, stride 4, gelu` and the like, with the layer's name."""
    details = []
    if hasattr(layer, "kernel_size"):
        details.append(f"{'×'.join(map(str, layer.kernel_size))}, stride {layer.strides[0]}")
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if activation != "linear":
        details.append(activation)
    kind = "Input" if isinstance(layer, layers.InputLayer) else type(layer).__name__
    return f"{layer.name}: {' '.join([kind, ', '.join(details)]).strip()}"


def compiled_decoder(vae: VAE) -> Callable[[np.ndarray], np.ndarray]:
    """`vae.decode` for sliders: one graph, built once here, several times faster for a single z.

    It reads the weights at every call, so it follows a model that is trained on.

    Args:
        vae: a `VAE`, or anything with its `decoder` and `latent_dim`.

    Returns:
        a function `(n, latent_dim)` -> `(n, 28, 28, channels) float32` probabilities in [0, 1]; it raises
        ValueError for another shape, NaN or infinite numbers.
    """
    size = vae.latent_dim
    probabilities = compiled(lambda z: ops.sigmoid(vae.decoder(z)), size)
    probabilities(np.zeros((1, size), np.float32))  # build the graph now, not at the first touch of a slider

    def decode(z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"z must have the shape (n, {size}), but has {z.shape}.")
        if not np.isfinite(z).all():
            raise ValueError("z holds NaN or infinite numbers.")
        if not len(z):
            return vae.decode(z)
        return probabilities(z).numpy()

    return decode
