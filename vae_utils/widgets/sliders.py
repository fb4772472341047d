"""Sliders over any Python function: what a decoder makes of a point, what a denoiser makes of a noisy image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ipywidgets import HTML, BoundedIntText, Button, Dropdown, FloatSlider, HBox, Image, VBox

from vae_utils.data import add_gaussian_noise, add_salt_and_pepper
from vae_utils.latent import order_by_kl
from vae_utils.metrics import psnr
from vae_utils.vae import check_images
from vae_utils.widgets.panel import Panel, png_bytes

REACH = 3.0  # the sliders' ends, in standard deviations of the prior
INACTIVE_BELOW = 0.01  # nats
NOISES = {"Gaussian": add_gaussian_noise, "salt and pepper": add_salt_and_pepper}


class LatentSliders(Panel):
    """One slider per latent dimension, from −3 to +3 standard deviations of the prior, and the image decoded there.

    `sliders[i]` moves z[i]; `z` is the point, `picture` the image. For a model of the course, `explore` shows more.

    Args:
        decode: `(n, latent_dim)` -> `(n, height, width, 1 or 3)` in [0, 1], for example `vae.decode`.
        latent_dim: number of sliders, at least 1.
        kl_per_dimension: `(latent_dim,)` nats; the largest comes first, and those below 0.01 are marked as inactive.
        starts: name -> code `(latent_dim,)` to start from, as far as the sliders reach.

    Raises:
        ValueError: `decode` is no function, or a size does not fit.
    """

    def __init__(
        self,
        decode: Callable[[np.ndarray], np.ndarray],
        latent_dim: int,
        *,
        kl_per_dimension: np.ndarray | None = None,
        starts: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        if not isinstance(latent_dim, (int, np.integer)) or latent_dim < 1:
            raise ValueError(f"latent_dim must be a whole number of at least 1, but is {latent_dim!r}.")
        starts = {"the origin (all zeros)": np.zeros(latent_dim), **(starts or {})}
        self.starts = {name: check_vector(z, latent_dim, f"The start {name!r}") for name, z in starts.items()}
        limits = {"min": -REACH, "max": REACH, "step": 0.05, "readout_format": "+.2f"}
        self.sliders = [FloatSlider(description=f"z[{dim}]", **limits) for dim in range(latent_dim)]
        rows = self.sliders
        if kl_per_dimension is not None:
            kl = check_vector(kl_per_dimension, latent_dim, "kl_per_dimension")
            words = [f"KL {nats:.2f} nats{' (inactive)' if nats < INACTIVE_BELOW else ''}" for nats in kl]
            rows = [HBox([self.sliders[dim], HTML(words[dim])]) for dim in order_by_kl(kl)]
            for dim in np.flatnonzero(kl < INACTIVE_BELOW):
                self.sliders[dim].add_class("vae-inactive")
        self.picture = Image(width=224)
        self.start = Dropdown(options=list(starts), description="Start from")
        self.reset = Button(description="Reset", tooltip="Put all sliders back to the start")
        self.random = Button(description="Random draw", tooltip="Draw z from the prior N(0, 1)")
        self.start.observe(self._go_to_start, "value")
        self.reset.on_click(self._go_to_start)
        rng = np.random.default_rng(0)
        self.random.on_click(lambda _: self._move_to(rng.standard_normal(latent_dim)))
        column = VBox([HBox([self.start, self.reset, self.random]), *rows])
        super().__init__(decode, "decode", [column, self.picture], self.sliders)
        self.add_class("vae-latent-sliders")

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: the sliders' values."""
        return np.array([slider.value for slider in self.sliders], np.float32)

    def _go_to_start(self, _: Any) -> None:
        self._move_to(self.starts[self.start.value])

    def _move_to(self, z: np.ndarray) -> None:
        """All sliders, as far as they reach, and one picture."""
        self.held = True
        for slider, value in zip(self.sliders, z, strict=True):
            slider.value = float(value)
        self.held = False
        self.refresh()

    def draw_pictures(self) -> None:
        """Decode the point."""
        self.picture.value = png_bytes(self.make_images(self.z[np.newaxis])[0])


def check_vector(values: Any, size: int, name: str) -> np.ndarray:
    """`values` as `(size,) float32`, or a ValueError that calls them `name`."""
    values = np.asarray(values, np.float32)
    if values.shape != (size,) or not np.isfinite(values).all():
        raise ValueError(f"{name} must hold {size} finite numbers, but has the shape {values.shape}.")
    return values


class NoiseSlider(Panel):
    """An image, the same image with noise, and its denoised version, with the PSNR of both.

    `kind`, `level`, `index` are the controls; `pictures` and `captions` are named "original", "noisy", "denoised".

    Args:
        reconstruct: `(n, height, width, channels)` -> the same shape in [0, 1], any denoiser.
        x: `(n, height, width, 1 or 3)` in [0, 1], the images to choose from, n ≥ 1.
        kinds: names in `NOISES`.

    Raises:
        ValueError: `reconstruct` is no function, `x` holds no images, or there is no such noise.
    """

    def __init__(
        self, reconstruct: Callable[[np.ndarray], np.ndarray], x: np.ndarray, *, kinds: Sequence[str] = tuple(NOISES)
    ) -> None:
        self.x = check_images(x)
        if not len(self.x):
            raise ValueError("x must hold at least one image.")
        if not kinds or set(kinds) - set(NOISES):
            raise ValueError(f"kinds must name one or more of {', '.join(NOISES)}, but is {kinds!r}.")
        self.kind = Dropdown(options=list(kinds), description="Noise")
        self.level = FloatSlider(0.5, min=0, max=1, step=0.05, description="Level")
        self.index = BoundedIntText(0, min=0, max=len(x) - 1, description="Image no.")
        self.pictures = {name: Image(width=196) for name in ("original", "noisy", "denoised")}
        self.captions = {name: HTML(name) for name in self.pictures}
        captioned = [VBox([picture, self.captions[name]]) for name, picture in self.pictures.items()]
        controls = [self.kind, self.level, self.index]
        super().__init__(reconstruct, "reconstruct", [HBox(controls), *captioned], controls)
        self.add_class("vae-noise-slider")

    def draw_pictures(self) -> None:
        """One seed per image: while the level moves, the same noise grows and does not flicker."""
        clean = self.x[self.index.value][np.newaxis]
        noisy = NOISES[self.kind.value](clean, self.level.value, np.random.default_rng(self.index.value))
        self.pictures["original"].value = png_bytes(clean[0])
        self._show_with_psnr(clean, "noisy", noisy)
        self._show_with_psnr(clean, "denoised", self.make_images(noisy))

    def _show_with_psnr(self, clean: np.ndarray, name: str, image: np.ndarray) -> None:
        decibels = psnr(clean, image)[0]
        self.pictures[name].value = png_bytes(image[0])
        self.captions[name].value = f"{name}: " + (f"PSNR {decibels:.1f} dB" if np.isfinite(decibels) else "identical")


latent_sliders, noise_slider = LatentSliders, NoiseSlider  # the notebooks call them as functions
