"""An image, the same image with noise, and what any denoiser makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ipywidgets import BoundedIntText, Dropdown, Layout

from vae_utils.data import add_gaussian_noise, add_salt_and_pepper
from vae_utils.metrics import psnr
from vae_utils.vae import check_images
from vae_utils.widgets.panel import Panel, make_image, make_slider, make_text, put_in_column, put_in_row
from vae_utils.widgets.pictures import check_callable, decode_images, png_bytes

NOISES = {"Gaussian": add_gaussian_noise, "salt and pepper": add_salt_and_pepper}


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
        check_callable(reconstruct, "reconstruct")
        self.reconstruct, self.x = reconstruct, check_images(x, None, "x")
        if not len(self.x):
            raise ValueError("x must hold at least one image.")
        if not kinds or set(kinds) - set(NOISES):
            raise ValueError(f"kinds must name one or more of {', '.join(NOISES)}, but is {kinds!r}.")
        style, wide = {"description_width": "5.5em"}, Layout(width="auto", flex="1 1 220px", min_width="0")
        self.kind = Dropdown(options=list(kinds), description="Noise", style=style, layout=wide)
        self.level = make_slider("Level", 0, 1, 0.05, 0.5)
        self.index = BoundedIntText(0, min=0, max=len(x) - 1, description="Image no.", style=style)
        self.index.layout.width = "11em"
        controls = put_in_row(self.kind, self.level, self.index, width="100%", max_width="760px")
        names = ("original", "noisy", "denoised")
        self.pictures, self.captions = {n: make_image(196) for n in names}, {n: make_text(n) for n in names}
        captioned = [put_in_column(self.pictures[name], self.captions[name]) for name in names]
        super().__init__("vae-noise-slider", [controls, *captioned])
        for control in (self.kind, self.level, self.index):
            control.observe(self.refresh, "value")

    def draw_pictures(self) -> None:
        """One seed per image: while the level moves, the same noise grows and does not flicker."""
        clean = self.x[self.index.value][np.newaxis]
        noisy = NOISES[self.kind.value](clean, self.level.value, np.random.default_rng(self.index.value))
        self.pictures["original"].value = png_bytes(clean[0])
        self._show_with_psnr(clean, "noisy", noisy)
        self._show_with_psnr(clean, "denoised", decode_images(self.reconstruct, noisy, "reconstruct"))

    def _show_with_psnr(self, clean: np.ndarray, name: str, image: np.ndarray) -> None:
        decibels = psnr(clean, image)[0]
        self.pictures[name].value = png_bytes(image[0])
        self.captions[name].value = f"{name}: " + (f"PSNR {decibels:.1f} dB" if np.isfinite(decibels) else "identical")


noise_slider = NoiseSlider  # the notebooks call it as a function
