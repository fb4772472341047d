"""The explorer: encoder and decoder run in the browser from the model's weights; pictures follow the hand at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import keras
import numpy as np
import traitlets
from keras import layers

from vae_utils.latent import order_by_kl
from vae_utils.metrics import kl_per_dimension
from vae_utils.plots import class_colours
from vae_utils.vae import VAE, check_images
from vae_utils.widgets.panel import close_earlier_panels

HERE = Path(__file__).parent
MOST_IMAGES = 1000  # that are sent to the page
ACTIVATIONS = ("linear", "relu", "gelu", "sigmoid", "tanh")
KINDS = {layers.InputLayer: "input", layers.Dense: "dense", layers.Conv2D: "conv", layers.Conv2DTranspose: "transpose"}
KINDS |= dict.fromkeys((layers.Flatten, layers.Reshape, layers.Dropout, layers.Activation), "copy")


class Explorer(anywidget.AnyWidget):
    """The latent space of a `VAE` in the browser: map, sliders, walk, drawing and noise, without a call of the kernel.

    `refresh()` sends the weights and codes of a model that was trained further. For sliders over any Python function
    see `latent_sliders` and `noise_slider`. Arguments and errors are those of `explorer_data`.
    """

    _esm, _css = HERE / "explorer.js", HERE / "explorer.css"
    spec = traitlets.Dict().tag(sync=True)
    weights, images = traitlets.Bytes().tag(sync=True), traitlets.Bytes().tag(sync=True)

    def __init__(self, vae: VAE, x: np.ndarray, y: Any = None, **options: Any) -> None:
        self.collect = lambda: explorer_data(vae, x, y, **options)
        super().__init__(**self.collect())
        close_earlier_panels(self)

    def _repr_keys(self) -> list[str]:
        return []  # not the weights: a notebook keeps this as its text

    def refresh(self) -> None:
        """Show the model as it is now."""
        data = self.collect()
        with self.hold_sync():
            self.spec, self.weights = data["spec"], data["weights"]


explore = Explorer  # the notebooks call it as a function


def explorer_data(
    vae: VAE, x: np.ndarray, y: Any = None, *, names: Sequence[str] = (), denoiser: VAE | None = None
) -> dict[str, Any]:
    """What the page needs: `spec` (JSON), `weights` (float32 bytes), `images` (uint8 bytes).

    Args:
        vae: a model of dense and convolutional layers, as `build_encoder` and `build_decoder` make them.
        x: `(n, *image_shape)` in [0, 1], n ≥ 1, held-out images; the first 1,000 are shown.
        y: `(n,)` labels from 0, which colour the map; all alike if left out.
        names: the name of each label, the numbers themselves if left out.
        denoiser: the same VAE with another encoder, `load_pretrained(10, denoising=True)`, for the view "Noise".

    Raises:
        ValueError: images or labels do not fit, or the model has a layer that the explorer cannot run.
    """
    x = check_images(x, vae.image_shape)[:MOST_IMAGES]
    y = np.zeros(len(x), int) if y is None else np.asarray(y)[:MOST_IMAGES]
    if not len(x) or y.shape != x.shape[:1] or y.dtype.kind not in "iu" or y.min() < 0:
        raise ValueError(f"y must hold one whole number from 0 for each of at least one image, but is {y!r}.")
    names = [str(name) for name in names or range(y.max() + 1 if y.any() else 0)]
    if names and len(names) <= y.max():
        raise ValueError(f"names must hold a name for each label up to {y.max()}, but holds {len(names)}.")
    arrays: list[np.ndarray] = []
    networks = {"encoder": vae.encoder, "decoder": vae.decoder} | ({"second": denoiser.encoder} if denoiser else {})
    kl = kl_per_dimension(vae, x)
    spec = {
        "image_shape": vae.image_shape,
        "networks": {name: describe_network(network, arrays) for name, network in networks.items()},
        "codes": store(vae.encode(x)[0], arrays),
        "kl": kl.tolist(),
        "order": order_by_kl(kl).tolist(),
        "labels": y.tolist(),
        "names": names,
        "colours": class_colours(y.max() + 1),
    }
    weights = b"".join(array.astype("<f4").tobytes() for array in arrays)
    return {"spec": spec, "weights": weights, "images": np.rint(255 * x).astype(np.uint8).tobytes()}


def store(array: Any, arrays: list[np.ndarray]) -> tuple[int, int]:
    """Append an array to `arrays`; its first position among all their numbers, and its length."""
    arrays.append(np.asarray(array, np.float32).ravel())
    return sum(map(len, arrays[:-1])), len(arrays[-1])


def describe_network(model: keras.Model, arrays: list[np.ndarray]) -> dict[str, Any]:
    """A functional model for `buildNetwork` in explorer.js; its weights are appended to `arrays`. Else ValueError."""
    places = {id(layer.output): index for index, layer in enumerate(model.operations)}
    nodes = []
    for layer in model.operations:
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        kind, named = describe_layer(layer) if activation in ACTIVATIONS else (None, {})
        if kind is None:
            raise ValueError(
                f"The explorer cannot run the layer {layer.name!r} ({type(layer).__name__}, {activation})."
            )
        inputs = [] if kind == "input" else layer.input if isinstance(layer.input, list) else [layer.input]
        node = {"kind": kind, "activation": activation, "shape": layer.output.shape[1:]}
        node |= {"window": getattr(layer, "kernel_size", None), "strides": getattr(layer, "strides", None)}
        node["inputs"] = [places[id(tensor)] for tensor in inputs]
        node["arrays"] = {name: store(array, arrays) for name, array in named.items() if array is not None}
        nodes.append(node)
    return {"nodes": nodes, "outputs": [places[id(tensor)] for tensor in model.outputs]}


def describe_layer(layer: Any) -> tuple[str | None, dict[str, Any]]:
    """Which function of explorer.js computes a layer, None if there is none, and the layer's arrays."""
    spread = {*getattr(layer, "dilation_rate", ()), getattr(layer, "groups", 1)}  # explorer.js knows neither
    if type(layer) in KINDS and spread == {1}:
        return KINDS[type(layer)], {name: getattr(layer, name, None) for name in ("kernel", "bias")}
    if type(layer).__name__ == "PixelBias":  # of vae.py, or a copy of it
        return "affine", {"scale": [1.0], "bias": layer.bias}
    if isinstance(layer, layers.BatchNormalization) and layer.center and layer.scale:
        scale = layer.gamma / np.sqrt(layer.moving_variance + layer.epsilon)
        return "affine", {"scale": scale, "bias": layer.beta - layer.moving_mean * scale}
    if isinstance(layer, layers.Concatenate) and layer.axis in (-1, len(layer.output.shape) - 1):
        return "concatenate", {}
    return None, {}
