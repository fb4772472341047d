"""One slider per latent dimension, and the image that any function `decode(z)` makes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
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

    `sliders[i]` moves z[i]; `z` is the point, `picture` the image, `message` the line below.

    Args:
        decode: `(n, latent_dim)` -> `(n, height, width, 1 or 3)` in [0, 1], for example `compiled_decoder(vae)`.
        latent_dim: number of sliders, at least 1.
        kl_per_dimension: `(latent_dim,)` nats; the largest comes first, and those below 0.01 are marked as inactive.
        starts: name -> code `(latent_dim,)` to start from.

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
        self.starts = {name: check_vector(z, latent_dim, f"The start {name!r}") for name, z in (starts or {}).items()}
        self.decode, self.kl, self.rng = decode, kl, np.random.default_rng(0)
        self.inactive = np.zeros(latent_dim, bool) if kl is None else kl < INACTIVE_BELOW
        self.sliders = [make_slider(f"z[{dim}]", -REACH, REACH) for dim in range(latent_dim)]
        self.picture = make_image(224)
        self.start = Dropdown(
            options=["the origin (all zeros)", *self.starts],
            description="Start from",
            style={"description_width": "5.5em"},
            layout=Layout(width="auto", flex="1 1 200px", min_width="0", max_width="320px"),
        )
        narrow = Layout(width="auto")
        self.reset = Button(description="Reset", tooltip="Put all sliders back to the start", layout=narrow)
        self.random = Button(description="Random draw", tooltip="Draw z from the prior N(0, 1)", layout=narrow)
        self._image, self._moved = None, None
        rows = [self._make_row(dim) for dim in (range(latent_dim) if kl is None else order_by_kl(kl))]
        controls = put_in_column(put_in_row(self.start, self.reset, self.random), *rows, width=380)
        super().__init__("vae-latent-sliders", [controls, self.picture])
        for dim, slider in enumerate(self.sliders):
            self.listen(slider, partial(self._note_move, dim))
        self.listen(self.start, self._go_to_start)
        self.listen(self.reset, self._go_to_start)
        self.listen(self.random, lambda _: self.move_to(self.rng.standard_normal(len(self.sliders))))

    def _make_row(self, dim: int) -> Box:
        slider = self.sliders[dim]
        if self.kl is None:
            return put_in_row(slider)
        words = f"KL {self.kl[dim]:.2f} nats"
        if self.inactive[dim]:
            words = f'<span style="color:#767676">{words} (inactive)</span>'
            slider.style.handle_color = "#bdbdbd"
            slider.add_class("vae-inactive")
        return put_in_row(slider, make_text(words, width="12.5em", margin="0 0 0 4px"), align_items="center")

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: the sliders' values."""
        return np.array([slider.value for slider in self.sliders], np.float32)

    def move_to(self, z: np.ndarray) -> None:
        """Move all sliders to `z` `(latent_dim,)`, as far as they reach, and draw one picture."""
        with self.refresh.hold():
            for slider, value in zip(self.sliders, np.clip(z, -REACH, REACH), strict=True):
                slider.value = float(value)
            self._moved = None

    def _go_to_start(self, _: Any) -> None:
        self.move_to(self.starts.get(self.start.value, np.zeros(len(self.sliders))))

    def _note_move(self, dim: int, _: Any) -> None:
        self._moved = dim
        self.refresh()

    def draw_pictures(self) -> None:
        """Decode the point; say why nothing changes, or that the start lies beyond the sliders."""
        moved, self._moved = self._moved, None
        before, self._image = self._image, decode_images(self.decode, self.z[np.newaxis])[0]
        self.picture.value = png_bytes(self._image)
        start = self.starts.get(self.start.value, np.zeros(1))
        if moved is not None and self.inactive[moved] and before is not None:
            self.say(describe_inactive(moved, self.kl[moved], np.abs(self._image - before).max()))
        elif np.abs(start).max() > REACH and np.array_equal(self.z, np.clip(start, -REACH, REACH)):
            self.say(
                f"This code lies beyond the sliders (|z| up to {np.abs(start).max():.1f}); they stop at their ends."
            )
        else:
            self.say("")


latent_sliders = LatentSliders  # the notebooks call it as a function


def describe_inactive(dim: int, kl: float, change: float) -> str:
    """What it means that an inactive dimension moved and a pixel changed by `change`, in [0, 1], at most."""
    measured = f"The largest change of a pixel was {change:.3f}, on a scale from 0 to 1."
    if change > 0.1:
        listed = f"z[{dim}] is listed as inactive (KL divergence {kl:.3f} nats), but the picture changes"
        return f"{listed}: check that kl_per_dimension belongs to this decoder. {measured}"
    inactive = f"z[{dim}] is an inactive (collapsed) dimension: KL divergence {kl:.3f} nats"
    return f"{inactive}. Its approximate posterior is nearly the prior for every image. {measured}"


def check_vector(values: Any, size: int, name: str) -> np.ndarray:
    """`values` as `(size,) float32`, or a ValueError that calls them `name`."""
    values = np.asarray(values, np.float32)
    if values.shape != (size,) or not np.isfinite(values).all():
        raise ValueError(f"{name} must hold {size} finite numbers, but has the shape {values.shape}.")
    return values
