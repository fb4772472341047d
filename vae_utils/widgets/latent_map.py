"""A map of images on two dimensions of the latent space, a point on it, the image decoded there, its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ipywidgets import Box, Button, GridBox, Layout

from vae_utils.widgets import maps
from vae_utils.widgets.panel import Panel, make_image, make_slider, make_text, put_caption, put_in_column, put_in_row
from vae_utils.widgets.pictures import check_callable, decode_images, png_bytes

REACH = 3.0  # the sliders' ends, in standard deviations of the prior


class LatentMap(Panel):
    """A map of images on two dimensions of the latent space; a point on it, the image there, its nearest codes.

    `sliders` move the two dimensions, `cells` are the buttons on the map, `z` is the point.

    Args:
        decode: `(n, latent_dim)` -> `(n, height, width, 1 or 3)` in [0, 1].
        z_mean: `(n, latent_dim)` codes. With one dimension, the map's height is the class.
        y: `(n,)` labels, whole numbers from 0 to 99.
        x: `(n, height, width, 1 or 3)` in [0, 1], the images.
        dims: the two dimensions; all others are 0 at the point, and count in the distance to its neighbours.

    Raises:
        ValueError: no function, arrays that do not fit together, or `dims` that are not two different dimensions.
    """

    css = (
        Panel.css
        + """
.vae-cells { z-index: 1; }
.vae-map { image-rendering: auto; }
.vae-cell.jupyter-button { background: transparent; font-weight: bold; line-height: 1; padding: 3px 4px;
  display: flex; align-items: flex-start; justify-content: flex-start;
  text-shadow: 0 0 2px #fff, 0 0 3px #fff, 0 0 4px #fff, 0 0 5px #fff; }
.vae-cell.jupyter-button:hover, .vae-cell.jupyter-button:focus { outline: 2px solid #333; outline-offset: -2px; }
"""
    )

    def __init__(
        self, decode: maps.Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, *, dims: Sequence[int] = (0, 1)
    ) -> None:
        check_callable(decode, "decode")
        self.decode = decode
        self.z_mean, self.y, self.x = maps.check_codes(z_mean, y, x)
        self.dims = maps.check_dims(dims, self.z_mean.shape[1])
        points = maps.place_points(self.z_mean, self.y, self.dims)
        self._sheet = maps.draw_map(points, self.y, names=False)
        self.sliders = [make_slider(f"z[{dim}]", -REACH, REACH) for dim in self.dims]
        self.map, self.picture, self.neighbours = make_image(maps.MAP_SIZE), make_image(168), make_image(248)
        self._near = make_text()
        centres, classes = maps.count_cells(points, self.y)
        self.cells = self._make_buttons(centres, classes)
        layered = Layout(display="grid", width=f"{maps.MAP_SIZE}px", max_width="100%", overflow="hidden")
        stack = Box([self.map, self._make_grid()], layout=layered)
        self.map.layout.grid_area = "1 / 1"
        self.map.add_class("vae-map")
        caption = make_text(maps.describe_map(self.dims, points, self.y))
        left = put_in_column(stack, caption, width=maps.MAP_SIZE, grow=False)
        pictures = put_in_row(put_caption(self.picture, make_text("decoded")), put_caption(self.neighbours, self._near))
        right = put_in_column(*(put_in_row(slider) for slider in self.sliders), pictures, width=300)
        super().__init__("vae-latent-map", [left, right])
        for slider in self.sliders:
            self.listen(slider)
        for button, centre in zip(self.cells, centres, strict=True):
            self.listen(button, lambda _, centre=centre: self.move_to(centre))

    def _make_buttons(self, centres: np.ndarray, classes: np.ndarray) -> list[Button]:
        layout = Layout(width="auto", height="auto", margin="0", border="none", min_width="0")
        buttons = []
        for centre, label in zip(centres, classes, strict=True):
            where = ", ".join(f"z[{dim}] = {value:+.0f}" for dim, value in zip(self.dims, centre, strict=False))
            name, most = (str(label), f"most codes of class {label}") if label >= 0 else ("·", "no codes")
            button = Button(description=name, tooltip=f"{where}: {most}", layout=layout)
            button.style.text_color = maps.CLASS_COLOURS[label] if label >= 0 else "#767676"
            button.style.font_size = "15px"
            button.add_class("vae-cell")
            buttons.append(button)
        return buttons

    def _make_grid(self) -> GridBox:
        equal = f"repeat({maps.MAP_CELLS}, minmax(0, 1fr))"
        equal_cells = {"grid_template_columns": equal, "grid_template_rows": equal}
        grid = GridBox(self.cells, layout=Layout(grid_area="1 / 1", margin="2px", **equal_cells))
        grid.add_class("vae-cells")
        return grid

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: the chosen point; dimensions without a slider are 0."""
        z = np.zeros(self.z_mean.shape[1], np.float32)
        z[list(self.dims)] = [slider.value for slider in self.sliders]
        return z

    def move_to(self, point: Sequence[float]) -> None:
        """Move the sliders to `point`, one number per slider."""
        with self.refresh.hold():
            for slider, value in zip(self.sliders, point, strict=False):
                slider.value = float(value)

    def draw_pictures(self) -> None:
        """The point on the map, the nearest codes' images, and the decoded one."""
        z = self.z
        mark = np.append(z[list(self.dims)], 0.0)[np.newaxis, :2]
        self.map.value = png_bytes(maps.draw_marks(self._sheet, mark, maps.SPHERICAL, 7), maps.PALETTE)
        found, distances = maps.find_nearest(self.z_mean, z, maps.NEIGHBOURS)
        self.neighbours.value = maps.tiles_png(self.x[found])
        self._near.value = f"{maps.describe_neighbours(self.y[found])}<br>(distance {distances[0]:.2f} and more)"
        self.picture.value = png_bytes(decode_images(self.decode, z[np.newaxis])[0])
        self.say("")


latent_map = LatentMap  # the notebooks call it as a function
