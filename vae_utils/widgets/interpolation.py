"""From one image to another: linear and spherical interpolation side by side, and both paths on the map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ipywidgets import BoundedIntText, Layout

from vae_utils.latent import interpolate_linear, interpolate_spherical
from vae_utils.widgets import maps
from vae_utils.widgets.panel import Panel, make_image, make_slider, make_text, put_caption, put_in_column, put_in_row
from vae_utils.widgets.pictures import check_callable, decode_images, png_bytes


class LatentWalk(Panel):
    """From one image to another, by linear (blue) and spherical interpolation (orange), as images and on the map.

    `start` and `end` choose the images, `t` is the slider; `pictures` has "from", "linear", "spherical (slerp)", "to".

    Args:
        decode: `(n, latent_dim)` -> `(n, height, width, 1 or 3)` in [0, 1].
        z_mean: `(n, latent_dim)` codes of the images to choose from.
        y: `(n,)` labels, whole numbers from 0 to 99.
        x: `(n, height, width, 1 or 3)` in [0, 1], the images.
        dims: the two dimensions of the map, onto which the paths are projected.

    Raises:
        ValueError: no function, arrays that do not fit together, or `dims` that are not two different dimensions.
    """

    css = Panel.css + ".vae-map { image-rendering: auto; }"

    def __init__(
        self, decode: maps.Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, *, dims: Sequence[int] = (0, 1)
    ) -> None:
        check_callable(decode, "decode")
        self.decode = decode
        self.z_mean, self.y, self.x = maps.check_codes(z_mean, y, x)
        self.dims = maps.check_dims(dims, self.z_mean.shape[1])
        points = maps.place_points(self.z_mean, self.y, self.dims)
        self._reach = maps.choose_reach(points)
        self._sheet = maps.draw_map(points, self.y, self._reach)
        other = np.flatnonzero(self.y != self.y[0])
        self.start = self._make_chooser("From image no.", 0)
        self.end = self._make_chooser("To image no.", int(other[0]) if len(other) else len(self.y) - 1)
        self.t = make_slider("t", 0, 1, 0.01, 0.5)
        self.t.style.description_width = "1.5em"
        self.map = make_image(maps.MAP_SIZE)
        self.map.add_class("vae-map")
        names = ("from", "linear", "spherical (slerp)", "to")
        self.pictures, self._captions = {n: make_image(100) for n in names}, {n: make_text(n) for n in names}
        captioned = [put_caption(self.pictures[name], self._captions[name]) for name in names]
        caption = make_text(maps.describe_map(self.dims, points, self.y, self._reach))
        left = put_in_column(self.map, caption, width=maps.MAP_SIZE, grow=False)
        rows = [put_in_row(self.start, self.end), put_in_row(self.t), put_in_row(*captioned)]
        self._ends: tuple[int, int] | None = None
        super().__init__("vae-latent-walk", [left, put_in_column(*rows, width=300)])
        for control in (self.start, self.end, self.t):
            self.listen(control)

    def _make_chooser(self, name: str, value: int) -> BoundedIntText:
        look = {"style": {"description_width": "8em"}, "layout": Layout(width="14em"), "continuous_update": False}
        return BoundedIntText(value, min=0, max=len(self.y) - 1, description=name, **look)

    def compute_paths(self, t: float | np.ndarray) -> dict[str, np.ndarray]:
        """The points `(…, latent_dim)` of both paths for t `(…)` in [0, 1]."""
        a, b = self.z_mean[self.start.value], self.z_mean[self.end.value]
        return {"linear": interpolate_linear(a, b, t), "spherical (slerp)": interpolate_spherical(a, b, t)}

    def draw_pictures(self) -> None:
        """The images at t, and the two points on the map."""
        if self._ends != (self.start.value, self.end.value):
            self._draw_ends()
        here = self.compute_paths(self.t.value)
        sheet = self._path_sheet
        for (name, z), colour in zip(here.items(), (maps.LINEAR, maps.SPHERICAL), strict=True):
            sheet = maps.draw_marks(sheet, self._project(z[np.newaxis]), colour, 6, self._reach)
            self._captions[name].value = f"{name}<br>norm of z: {np.linalg.norm(z):.2f}"
        self.map.value = png_bytes(sheet, maps.PALETTE)
        for name, image in zip(here, decode_images(self.decode, np.stack(list(here.values()))), strict=True):
            self.pictures[name].value = png_bytes(image)
        self.say("")

    def _draw_ends(self) -> None:
        """What changes with the two images only: the images, and the paths on the map."""
        ends = [self.start.value, self.end.value]
        for name, index in zip(("from", "to"), ends, strict=True):
            self.pictures[name].value = png_bytes(self.x[index])
            norm = np.linalg.norm(self.z_mean[index])
            self._captions[name].value = f"{name}: class {self.y[index]}<br>norm of z: {norm:.2f}"
        sheet = self._sheet
        paths = self.compute_paths(np.linspace(0, 1, 200)).values()
        for z, colour in zip(paths, (maps.LINEAR, maps.SPHERICAL), strict=True):
            sheet = maps.draw_marks(sheet, self._project(z), colour, 1.5, self._reach)
        self._path_sheet = maps.draw_marks(sheet, self._project(self.z_mean[ends]), maps.TEXT, 4, self._reach)
        self._ends = (self.start.value, self.end.value)

    def _project(self, z: np.ndarray) -> np.ndarray:
        return np.concatenate([z[:, list(self.dims)], np.zeros((len(z), 1))], axis=1)[:, :2]


latent_walk = LatentWalk  # the notebooks call it as a function
