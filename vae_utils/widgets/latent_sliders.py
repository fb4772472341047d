"""One slider per latent dimension, and the image that any function `decode(z)` makes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ipywidgets import Box, Button, Dropdown, Layout

from vae_utils.latent import order_by_kl
from vae_utils.widgets.panel import Panel, make_image, make_slider, make_text, put_in_column, put_in_row
from vae_utils.widgets.pictures import check_callable, decode_images, png_bytes

REACH = 3.0  # the sliders' ends, in standard deviations of the prior
INACTIVE_BELOW = 0.01  # nats


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
        check_callable(decode, "decode")
        if not isinstance(latent_dim, (int, np.integer)) or latent_dim < 1:
            raise ValueError(f"latent_dim must be a whole number of at least 1, but is {latent_dim!r}.")
        kl = None if kl_per_dimension is None else check_vector(kl_per_dimension, latent_dim, "kl_per_dimension")
        starts = {name: check_vector(z, latent_dim, f"The start {name!r}") for name, z in (starts or {}).items()}
        self.starts = {"the origin (all zeros)": np.zeros(latent_dim), **starts}
        self.decode, self.kl, self.rng = decode, kl, np.random.default_rng(0)
        self.sliders = [make_slider(f"z[{dim}]", -REACH, REACH) for dim in range(latent_dim)]
        self.picture = make_image(224)
        wide, narrow = Layout(width="auto", flex="1 1 200px", min_width="0", max_width="320px"), Layout(width="auto")
        style = {"description_width": "5.5em"}
        self.start = Dropdown(options=list(self.starts), description="Start from", style=style, layout=wide)
        self.reset = Button(description="Reset", tooltip="Put all sliders back to the start", layout=narrow)
        self.random = Button(description="Random draw", tooltip="Draw z from the prior N(0, 1)", layout=narrow)
        rows = [self._make_row(dim) for dim in (range(latent_dim) if kl is None else order_by_kl(kl))]
        top = put_in_row(self.start, self.reset, self.random)
        super().__init__("vae-latent-sliders", [put_in_column(top, *rows, width="380px", grow=1), self.picture])
        for slider in self.sliders:
            slider.observe(self.refresh, "value")
        self.start.observe(self._go_to_start, "value")
        self.reset.on_click(self._go_to_start)
        self.random.on_click(lambda _: self.move_to(self.rng.standard_normal(latent_dim)))

    def _make_row(self, dim: int) -> Box:
        if self.kl is None:
            return put_in_row(self.sliders[dim])
        inactive = " (inactive)" if self.kl[dim] < INACTIVE_BELOW else ""
        if inactive:
            self.sliders[dim].add_class("vae-inactive")
        words = make_text(f"KL {self.kl[dim]:.2f} nats{inactive}", width="12.5em", margin="0 0 0 4px")
        return put_in_row(self.sliders[dim], words, align_items="center")

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: the sliders' values."""
        return np.array([slider.value for slider in self.sliders], np.float32)

    def move_to(self, z: np.ndarray) -> None:
        """Move all sliders to `z` `(latent_dim,)`, as far as they reach, and draw one picture."""
        with self.hold():
            for slider, value in zip(self.sliders, np.clip(z, -REACH, REACH), strict=True):
                slider.value = float(value)

    def _go_to_start(self, _: Any) -> None:
        self.move_to(self.starts[self.start.value])

    def draw_pictures(self) -> None:
        """Decode the point."""
        self.picture.value = png_bytes(decode_images(self.decode, self.z[np.newaxis])[0])


latent_sliders = LatentSliders  # the notebooks call it as a function


def check_vector(values: Any, size: int, name: str) -> np.ndarray:
    """`values` as `(size,) float32`, or a ValueError that calls them `name`."""
    values = np.asarray(values, np.float32)
    if values.shape != (size,) or not np.isfinite(values).all():
        raise ValueError(f"{name} must hold {size} finite numbers, but has the shape {values.shape}.")
    return values
