"""A drawing pad: the drawing is made like an MNIST digit, encoded, decoded, and shown among its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ipywidgets import Button, Dropdown, Layout
from PIL import Image, ImageDraw

from vae_utils.vae import check_images
from vae_utils.widgets import maps
from vae_utils.widgets.panel import Panel, make_image, make_text, put_caption, put_in_column, put_in_row
from vae_utils.widgets.pictures import check_callable, decode_images, png_bytes

PAD = 224  # pixels of the drawing pad
MNIST_SHAPE = (28, 28, 1)


def rasterise(strokes: Sequence[Sequence[tuple[float, float]]], size: int = 224) -> np.ndarray:
    """Pen strokes as a grey picture, white on black, with a pen of a tenth of the drawing's extent.

    So a small drawing, which will be enlarged, gets no thicker lines than a big one.

    Args:
        strokes: for each stroke its points (x, y) in pixels of the drawing pad, y downwards.
        size: side of the pad in pixels.

    Returns:
        `(size, size) float32 in [0, 1]`; black if there is no stroke.
    """
    sketch = Image.new("L", (size, size))
    points = [point for stroke in strokes for point in stroke]
    if points:
        draw = ImageDraw.Draw(sketch)
        width = max(round(0.1 * max(np.ptp(np.array(points), axis=0).max(), size / 8)), 2)
        for stroke in strokes:
            draw.line([tuple(point) for point in stroke], fill=255, width=width, joint="curve")
            for x, y in stroke:  # round ends and corners
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(sketch, np.float32) / 255


def as_mnist(sketch: np.ndarray) -> np.ndarray:
    """A sketch made the way MNIST's digits are: fitted into 20 × 20 pixels, then centred by mass in 28 × 28.

    Source: LeCun, Cortes and Burges, "The MNIST database": size-normalised to a 20 × 20 box with the aspect
    ratio kept and grey levels from anti-aliasing, and moved so that the centre of mass is the centre of the
    28 × 28 field. Here it is moved by whole pixels, and never so far that a stroke leaves the field.

    Args:
        sketch: `(height, width)` in [0, 1], white strokes on black.

    Returns:
        `(28, 28, 1) float32 in [0, 1]`.

    Raises:
        ValueError: `sketch` has another shape, or there is nothing on it.
    """
    sketch = np.asarray(sketch, np.float32)
    if sketch.ndim != 2:
        raise ValueError(f"sketch must have the shape (height, width), but has {sketch.shape}.")
    inked = sketch > 0.02
    if not inked.any():
        raise ValueError("The drawing is empty: draw a digit first.")
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    crop = sketch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(20 * side / max(crop.shape))) for side in crop.shape)
    small = np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BOX))
    mass = small.sum()
    middle_row = (small.sum(axis=1) @ (np.arange(height) + 0.5)) / mass
    middle_column = (small.sum(axis=0) @ (np.arange(width) + 0.5)) / mass
    top = int(np.clip(round(14.5 - middle_row), 0, 28 - height))  # the data's centre of mass is pixel 14's middle
    left = int(np.clip(round(14.5 - middle_column), 0, 28 - width))
    digit = np.zeros((28, 28, 1), np.float32)
    digit[top : top + height, left : left + width, 0] = np.clip(small, 0, 1)
    return digit


class DrawADigit(Panel):
    """A drawing pad; the drawing is made like an MNIST digit, encoded, decoded, and shown among its neighbours.

    The pad is an ipycanvas `Canvas`: core ipywidgets tell Python of no mouse movement. By the keyboard, a test
    digit can be chosen instead. `pad` is the canvas; `strokes` what was drawn on it.

    Args:
        encode: `(n, 28, 28, 1)` -> `(z_mean, z_log_var)`, each `(n, latent_dim)`.
        decode: `(n, latent_dim)` -> `(n, 28, 28, 1)` in [0, 1].
        z_mean: `(n, latent_dim)` codes of the test digits.
        y: `(n,)` labels, whole numbers from 0 to 99.
        x: `(n, 28, 28, 1)` in [0, 1], the digits.

    Raises:
        ValueError: no functions, or arrays that do not fit together.
    """

    css = Panel.css + ".vae-map { image-rendering: auto; }"

    def __init__(
        self,
        encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        decode: maps.Decode,
        z_mean: np.ndarray,
        y: np.ndarray,
        x: np.ndarray,
    ) -> None:
        from ipycanvas import Canvas  # here, so that the other widgets work where only core widgets do

        check_callable(encode, "encode")
        check_callable(decode, "decode")
        check_images(x, MNIST_SHAPE, "x")
        self.encode, self.decode = encode, decode
        self.z_mean, self.y, self.x = maps.check_codes(z_mean, y, x)
        self.strokes: list[list[tuple[float, float]]] = []
        self._pen_is_down = False
        self.dims = maps.check_dims((0, 1), self.z_mean.shape[1])
        points = maps.place_points(self.z_mean, self.y, self.dims)
        self._reach = maps.choose_reach(points)
        self._sheet = maps.draw_map(points, self.y, self._reach)
        self.pad = Canvas(width=PAD, height=PAD, layout=Layout(width=f"{PAD}px", height=f"{PAD}px"))
        self.pad.add_class("vae-pad")
        self._other_pad = Canvas(width=1, height=1)  # never shown, see _paint
        self.clear = Button(description="Clear", tooltip="Erase the drawing", layout=Layout(width="auto"))
        shown = min(len(self.y), 100)
        self.sample = Dropdown(
            options=[("none", -1), *[(f"no. {i}: a {self.y[i]}", i) for i in range(shown)]],
            description="Or test digit",
            style={"description_width": "6em"},
            layout=Layout(width="13.5em"),
        )
        captions = {"seen": "made like MNIST", "reconstruction": "reconstruction"}
        self.pictures = {name: make_image(112) for name in captions}
        captioned = [put_caption(self.pictures[name], make_text(words)) for name, words in captions.items()]
        self.pictures["neighbours"] = make_image(248)
        self._near, self._code = make_text("nearest test images"), make_text()
        self.map = make_image(224)
        self.map.add_class("vae-map")
        left = put_in_column(self.pad, put_in_row(self.clear, self.sample), width=250, grow=False)
        neighbours = put_caption(self.pictures["neighbours"], self._near)
        middle = put_in_column(put_in_row(*captioned), neighbours, self._code, width=260, grow=False)
        caption = make_text(maps.describe_map(self.dims, points, self.y, self._reach))
        right = put_in_column(self.map, caption, width=230, grow=False)
        super().__init__("vae-draw-a-digit", [left, middle, right], delay=0.1)
        self.listen(self.clear, lambda _: self.wipe())
        self.listen(self.sample)
        self._connect_pad()
        self.on_close.append(self._other_pad.close)

    def _connect_pad(self) -> None:
        self.pad.on_mouse_down(self.pen_down)
        self.pad.on_mouse_move(self.pen_move)
        self.pad.on_mouse_up(lambda *_: self.pen_up())
        self.pad.on_mouse_out(lambda *_: self.pen_up())
        self.pad.on_touch_start(lambda points: points and self.pen_down(*points[0][:2]))
        self.pad.on_touch_move(lambda points: points and self.pen_move(*points[0][:2]))
        self.pad.on_touch_end(lambda *_: self.pen_up())
        self.pad.on_client_ready(self._paint)

    def pen_down(self, x: float, y: float) -> None:
        """Begin a stroke at `(x, y)`, pixels of the pad, y downwards."""
        self._pen_is_down = True
        self.sample.value = -1
        self.strokes.append([(float(x), float(y))])
        self._paint_line(self.strokes[-1][-1:] * 2)
        self.refresh()

    def pen_move(self, x: float, y: float) -> None:
        """Go on with the stroke, if the pen is down."""
        if self._pen_is_down:
            self.strokes[-1].append((float(x), float(y)))
            self._paint_line(self.strokes[-1][-2:])
            self.refresh()

    def pen_up(self) -> None:
        """End the stroke."""
        self._pen_is_down = False

    def wipe(self) -> None:
        """Erase the drawing."""
        with self.refresh.hold():
            self.strokes, self._pen_is_down = [], False
            self.sample.value = -1
            self._paint()
            self.refresh()

    def _paint(self) -> None:
        """The whole pad again: black, and all strokes in white.

        ipycanvas tells the browser which canvas it means only when that changes, and a page that was just
        opened does not know: so another canvas comes first.
        """
        from ipycanvas import hold_canvas

        with hold_canvas():
            self._other_pad.clear()
            self.pad.fill_style = "black"
            self.pad.fill_rect(0, 0, PAD, PAD)
            self.pad.stroke_style, self.pad.line_width = "white", 16
            self.pad.line_cap = self.pad.line_join = "round"
            for stroke in self.strokes:
                self._paint_line(stroke if len(stroke) > 1 else stroke * 2)

    def _paint_line(self, points: Sequence[tuple[float, float]]) -> None:
        self.pad.stroke_lines(np.array(points))

    def read_digit(self) -> np.ndarray:
        """`(28, 28, 1)`: the drawing as an MNIST digit, or the chosen test digit.

        Raises:
            ValueError: nothing is drawn.
        """
        return self.x[self.sample.value] if self.sample.value >= 0 else as_mnist(rasterise(self.strokes, PAD))

    def draw_pictures(self) -> None:
        """The digit, its code, its neighbours and its reconstruction."""
        if not self.strokes and self.sample.value < 0:
            return self._draw_nothing()
        digit = self.read_digit()[np.newaxis]
        self.pictures["seen"].value = png_bytes(digit[0])
        z_mean, z_log_var = (np.asarray(part, np.float32) for part in self.encode(digit))
        if z_mean.shape != (1, self.z_mean.shape[1]) or z_log_var.shape != z_mean.shape:
            raise ValueError(f"encode must return two arrays (1, {self.z_mean.shape[1]}), but returns {z_mean.shape}.")
        z, deviation = z_mean[0], np.exp(z_log_var[0] / 2)
        self._code.value = describe_code(z, deviation)
        found, _ = maps.find_nearest(self.z_mean, z, maps.NEIGHBOURS)
        self.pictures["neighbours"].value = maps.tiles_png(self.x[found])
        self._near.value = maps.describe_neighbours(self.y[found])
        self.map.value = png_bytes(self._draw_posterior(z, deviation), maps.PALETTE)
        self.pictures["reconstruction"].value = png_bytes(decode_images(self.decode, z_mean)[0])
        self.say("")

    def _draw_posterior(self, z: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """The map with the code and, around it, one standard deviation of the approximate posterior."""
        dims = list(self.dims)
        turn = np.linspace(0, 2 * np.pi, 120)[:, np.newaxis]
        centre, radii = np.append(z[dims], 0.0)[:2], np.append(deviation[dims], 0.0)[:2]
        ring = centre + radii * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        sheet = maps.draw_marks(self._sheet, ring, maps.SPHERICAL, 1, self._reach)
        return maps.draw_marks(sheet, centre[np.newaxis], maps.TEXT, 4, self._reach)

    def _draw_nothing(self) -> None:
        black = np.zeros((maps.NEIGHBOURS, *MNIST_SHAPE), np.float32)
        for name in ("seen", "reconstruction"):
            self.pictures[name].value = png_bytes(black[0])
        self.pictures["neighbours"].value = maps.tiles_png(black)
        self._near.value, self._code.value = "nearest test images", ""
        self.map.value = png_bytes(self._sheet, maps.PALETTE)
        self.say("The drawing is empty: draw a digit on the black square, or choose a test digit.")


draw_a_digit = DrawADigit  # the notebooks call it as a function


def describe_code(z_mean: np.ndarray, deviation: np.ndarray) -> str:
    """The approximate posterior of every dimension, `z[0] = +1.20 ± 0.08`, as HTML that wraps.

    Args:
        z_mean, deviation: `(latent_dim,)`.
    """
    parts = [f"z[{i}] = {m:+.2f} ± {s:.2f}" for i, (m, s) in enumerate(zip(z_mean, deviation, strict=True))]
    spans = " ".join(f'<span style="white-space:nowrap; margin-right:1em">{part}</span>' for part in parts)
    return f"approximate posterior (mean ± standard deviation):<br>{spans}"
