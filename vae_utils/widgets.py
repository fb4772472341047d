"""The widgets room: sliders over any `decode(z) -> images`. It does not know what a VAE is.

Every widget is a thin shell: pure functions make the arrays and the PNG bytes, and each picture is one
lasting `Image` whose bytes are exchanged. No figure is drawn while a slider moves. All is made of core
ipywidgets, but for the drawing pad of `draw_a_digit`, which is an ipycanvas `Canvas`.

**Latest value wins.** A slider in the browser sends one message and keeps only its newest value until the
kernel has dealt with that message. Here the picture is made inside the callback, so the message is dealt
with when the picture is on its way: a slow decoder skips values in between, and no queue grows. Changes
made in Python, ten sliders at once for a reset, and the pen, whose moves the browser does not hold back,
go through `LatestWins`.
"""

from __future__ import annotations

import asyncio
import html
import io
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import numpy as np
from ipywidgets import Box, Button, Dropdown, FloatSlider, GridBox, Image, Layout, VBox
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from vae_utils.data import add_gaussian_noise, add_salt_and_pepper, check_images
from vae_utils.plots import CLASS_COLOURS, moved_apart, tile_images

Decode = Callable[[np.ndarray], np.ndarray]
Encode = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

REACH = 3.0  # the sliders' ends, in standard deviations of the prior
INACTIVE_BELOW = 0.01  # nats: a dimension with less carries no information
NEIGHBOURS = 8
NOISES = {"Gaussian": add_gaussian_noise, "salt and pepper": add_salt_and_pepper}

# --- pictures ----------------------------------------------------------------------------------------


def png_bytes(picture: np.ndarray, scale: int = 1, palette: np.ndarray | None = None) -> bytes:
    """A picture as PNG, each pixel a square of `scale` × `scale`; written for speed, not for size.

    Args:
        picture: `(height, width)` grey or `(height, width, 3)` colour, float in [0, 1] (clipped) or uint8;
            with a palette, `(height, width) uint8` indices into it.
        scale: pixels of the PNG per pixel of the picture, along each side.
        palette: `(n, 3) uint8` colours, at most 256.
    """
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    image = Picture.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    if palette is not None:
        image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def digits_png(images: np.ndarray, columns: int, scale: int, gap: int = 0) -> bytes:
    """Images `(n, 28, 28, channels)` in [0, 1] in rows of `columns`, as PNG."""
    return png_bytes(tile_images(images, columns, gap), scale)


def decoded(decode: Decode, z: np.ndarray) -> np.ndarray:
    """`decode(z)`, if it is a batch of pictures.

    Args:
        decode: `(n, latent_dim)` -> `(n, 28, 28, channels)` in [0, 1].
        z: `(n, latent_dim)`.

    Raises:
        ValueError: `decode` gives another shape, or NaN.
    """
    images = np.asarray(decode(z.astype(np.float32)))
    if images.ndim != 4 or len(images) != len(z) or images.shape[-1] not in (1, 3):
        raise ValueError(f"decode must give ({len(z)}, 28, 28, 1 or 3) for {z.shape}, but gives {images.shape}.")
    if not np.isfinite(images).all():
        raise ValueError("decode gives NaN or infinite pixels.")
    return images


def noisy(x: np.ndarray, kind: str, level: float, seed: int = 0) -> np.ndarray:
    """`x` with noise, the same draw for the same seed, so that the slider scales it and does not flicker.

    Args:
        x: `(batch, 28, 28, channels) float32 in [0, 1]`.
        kind: a name in `NOISES`.
        level: standard deviation or share of pixels, in [0, 1].
        seed: of the draw.

    Raises:
        ValueError: no such kind (the message names those there are), or a level out of range.
    """
    if kind not in NOISES:
        raise ValueError(f"There is no noise {kind!r}; choose from {', '.join(NOISES)}.")
    return NOISES[kind](x, level, np.random.default_rng(seed))


# --- the latent space --------------------------------------------------------------------------------


def information_order(kl_per_dimension: np.ndarray) -> np.ndarray:
    """`(latent_dim,) int`: the dimensions by their KL divergence in nats, largest first; ties keep their order."""
    return np.argsort(-np.asarray(kl_per_dimension, dtype=np.float64), kind="stable")


def straight(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Points on the straight line from `a` to `b`: `(…, latent_dim)` for t `(…)` in [0, 1]."""
    t = np.asarray(t, dtype=np.float64)[..., np.newaxis]
    return (1 - t) * a + t * b


def spherical(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Points on the spherical path from `a` to `b`, which turns about the origin at a steady pace.

    For ω, the angle between them: (sin((1 − t) ω) a + sin(t ω) b) / sin ω. Vectors of one length keep it all
    the way. Source: Shoemake (1985), "Animating rotation with quaternion curves"; for latent spaces
    White (2016), "Sampling generative networks". Where no arc is defined (a zero vector, the same or opposite
    directions, one dimension) the path is the straight line.

    Args:
        a, b: `(latent_dim,)`.
        t: `(…)` in [0, 1].

    Returns:
        `(…, latent_dim)`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    omega = np.arccos(np.clip(a @ b / lengths, -1, 1)) if lengths else 0.0
    if np.sin(omega) < 1e-6:
        return straight(a, b, t)
    t = np.asarray(t, dtype=np.float64)[..., np.newaxis]
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def nearest(z_mean: np.ndarray, z: np.ndarray, count: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """The codes nearest to a point.

    Args:
        z_mean: `(n, latent_dim)`, n ≥ 1.
        z: `(latent_dim,)`.
        count: how many, at most n are given.

    Returns:
        `(count,) int` indices into `z_mean`, nearest first, and their Euclidean distances `(count,)`.
    """
    offset = z_mean - z.astype(z_mean.dtype)
    squares = np.einsum("ij,ij->i", offset, offset)
    count = min(count, len(squares))
    found = np.argpartition(squares, count - 1)[:count]
    found = found[np.argsort(squares[found], kind="stable")]
    return found, np.sqrt(squares[found])


# --- the map -----------------------------------------------------------------------------------------

MAP_SIZE, MAP_REACH, MAP_CELLS = 336, 3.5, 7  # pixels; standard deviations from the middle to the edge; cells a side
_RGB = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in CLASS_COLOURS], dtype=np.uint8)
_WHITE, _GRID, _TEXT, STRAIGHT, SPHERICAL, _DOTS, _NAMES = 0, 1, 2, 3, 4, 10, 20  # entries of the map's palette
PALETTE = np.zeros((30, 3), np.uint8)
PALETTE[[_WHITE, _GRID, _TEXT, STRAIGHT, SPHERICAL]] = [
    (255, 255, 255), (221, 221, 221), (60, 60, 60), (0, 119, 187), (238, 119, 51),
]  # fmt: skip
PALETTE[_DOTS : _DOTS + 10] = 255 - (255 - _RGB.astype(int)) * 55 // 100  # paler, so that names and marks stand out
PALETTE[_NAMES : _NAMES + 10] = _RGB


def plane_points(z_mean: np.ndarray, y: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Where the codes stand on the map: `(n, 2)`.

    With one dimension only, the height is the class, 0 at the bottom, spread a little for the eye.
    """
    if len(dims) == 2:
        return np.asarray(z_mean)[:, list(dims)]
    spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(y))
    return np.stack([np.asarray(z_mean)[:, dims[0]], 0.65 * (np.asarray(y) - 4.5) + spread], axis=1)


def map_reach(points: np.ndarray) -> float:
    """How far a map must reach to show all but the outermost half per cent of points, in steps of a half."""
    return max(MAP_REACH, float(np.ceil(2 * np.quantile(np.abs(points).max(axis=1), 0.995)) / 2))


def to_pixels(points: np.ndarray, reach: float = MAP_REACH) -> np.ndarray:
    """Rows and columns `(n, 2) int` of the map for points `(n, 2)`, which may lie beyond the map."""
    points = np.asarray(points, np.float64)
    centre, unit = MAP_SIZE / 2, MAP_SIZE / (2 * reach)
    return np.floor(np.stack([centre - unit * points[:, 1], centre + unit * points[:, 0]], axis=1)).astype(int)


def plane_map(points: np.ndarray, y: np.ndarray, reach: float = MAP_REACH, names: bool = True) -> np.ndarray:
    """The map of a test set: a dot per code in the pale colour of its class, lines at whole numbers.

    Args:
        points: `(n, 2)`; what lies beyond the map is left out.
        y: `(n,) int` labels.
        reach: from the middle to the edge.
        names: write every class at its median.

    Returns:
        `(MAP_SIZE, MAP_SIZE) uint8`, indices into `PALETTE`.
    """
    sheet = np.full((MAP_SIZE, MAP_SIZE), _WHITE, np.uint8)
    ticks = np.arange(-np.ceil(reach) + 1, np.ceil(reach))
    rows, columns = to_pixels(np.stack([ticks, ticks], axis=1), reach).T
    sheet[rows], sheet[:, columns] = _GRID, _GRID
    y = np.asarray(y) % 10
    pixels = to_pixels(points, reach)
    inside = ((pixels >= 0) & (pixels < MAP_SIZE - 1)).all(axis=1)
    row, column = pixels[inside].T
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        sheet[row + down, column + right] = _DOTS + y[inside]
    image = Picture.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    small, large = ImageFont.load_default(12), ImageFont.load_default(24)
    for tick, row, column in zip(ticks, rows, columns, strict=True):
        draw.text((column + 2, MAP_SIZE - 2), f"{tick:+.0f}", _TEXT, small, anchor="ls")
        draw.text((2, row - 2), f"{tick:+.0f}", _TEXT, small, anchor="ls")
    labels = np.unique(y) if names else np.empty(0, int)
    medians = np.array([np.median(points[y == label], axis=0) for label in labels]).reshape(-1, 2)
    for label, (row, column) in zip(labels, to_pixels(moved_apart(medians, 0.16 * reach), reach), strict=True):
        for width, colour in ((4, _WHITE), (1, int(_NAMES + label))):
            style = {"anchor": "mm", "stroke_width": width, "stroke_fill": colour}
            draw.text((column, row), str(label), colour, large, **style)
    return np.array(image)


def with_marks(
    sheet: np.ndarray, points: np.ndarray, colour: int, radius: float, reach: float = MAP_REACH
) -> np.ndarray:
    """A copy of the map with a disc at every point; points beyond the map stand at its edge.

    Args:
        sheet: `(MAP_SIZE, MAP_SIZE) uint8`.
        points: `(n, 2)`.
        colour: index into `PALETTE`.
        radius: of the discs, in pixels; from 4 on they have a white rim.
        reach: the map's, from the middle to the edge.
    """
    sheet = sheet.copy()
    around = np.arange(-int(radius) - 2, int(radius) + 3)
    distance = np.hypot(*np.meshgrid(around, around, indexing="ij"))
    layers = [(distance <= radius + 2, _WHITE)] if radius >= 4 else []
    for disc, value in [*layers, (distance <= radius, colour)]:
        offsets = around[np.argwhere(disc)]
        pixels = (np.clip(to_pixels(points, reach), 0, MAP_SIZE - 1)[:, np.newaxis] + offsets).reshape(-1, 2)
        row, column = pixels[((pixels >= 0) & (pixels < MAP_SIZE)).all(axis=1)].T
        sheet[row, column] = value
    return sheet


def cell_classes(points: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent class of every cell of the map.

    Returns:
        centres `(MAP_CELLS², 2)`, row by row from the top left, and classes `(MAP_CELLS²,) int`, −1 where
        no code lies.
    """
    across = np.arange(MAP_CELLS) * (2 * MAP_REACH / MAP_CELLS) - MAP_REACH + MAP_REACH / MAP_CELLS
    centres = np.array([(column, row) for row in across[::-1] for column in across])
    row, column = (to_pixels(points) * MAP_CELLS // MAP_SIZE).T
    inside = (row >= 0) & (row < MAP_CELLS) & (column >= 0) & (column < MAP_CELLS)
    counts = np.zeros((MAP_CELLS * MAP_CELLS, 10), int)
    np.add.at(counts, (row[inside] * MAP_CELLS + column[inside], np.asarray(y)[inside] % 10), 1)
    return centres, np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


# --- a drawing becomes a digit -----------------------------------------------------------------------


def rasterise(strokes: Sequence[Sequence[tuple[float, float]]], size: int = 224) -> np.ndarray:
    """Pen strokes as a grey picture, white on black, with a pen of a tenth of the drawing's extent.

    So a small drawing, which will be enlarged, gets no thicker lines than a big one.

    Args:
        strokes: for each stroke its points (x, y) in pixels of the drawing pad, y downwards.
        size: side of the pad in pixels.

    Returns:
        `(size, size) float32 in [0, 1]`; black if there is no stroke.
    """
    sketch = Picture.new("L", (size, size))
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
    small = np.asarray(Picture.fromarray(crop).resize((width, height), Picture.Resampling.BOX))
    mass = small.sum()
    middle_row = (small.sum(axis=1) @ (np.arange(height) + 0.5)) / mass
    middle_column = (small.sum(axis=0) @ (np.arange(width) + 0.5)) / mass
    top = int(np.clip(round(14.5 - middle_row), 0, 28 - height))  # the data's centre of mass is pixel 14's middle
    left = int(np.clip(round(14.5 - middle_column), 0, 28 - width))
    digit = np.zeros((28, 28, 1), np.float32)
    digit[top : top + height, left : left + width, 0] = np.clip(small, 0, 1)
    return digit


# --- the shell ---------------------------------------------------------------------------------------


class LatestWins:
    """Calls `update` for the newest request; requests that come meanwhile are merged into one.

    A call while an update runs, or inside `hold()`, is remembered, and one update follows. With a `delay`, and
    where an event loop runs (in a notebook's kernel), the first call sets a timer and later ones merge
    into it; without a loop, in a plain script or a test, the update happens at once.

    Args:
        update: takes nothing, reads the newest values itself.
        delay: seconds to wait for more requests.
    """

    def __init__(self, update: Callable[[], None], delay: float = 0.0) -> None:
        self.update, self.delay = update, delay
        self._busy = self._again = self._closed = False
        self._holds = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, *_: Any) -> None:
        if self._closed:
            return
        if self._busy or self._holds:
            self._again = True
            return
        loop = _running_loop() if self.delay else None
        if loop is None:
            self._run()
        elif self._timer is None:
            self._timer = loop.call_later(self.delay, self._run)

    def _run(self) -> None:
        self._timer = None
        self._busy = self._again = True
        try:
            while self._again and not self._closed:
                self._again = False
                self.update()
        finally:
            self._busy = self._again = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Merge all requests made inside into one, made at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._again and not self._holds and not self._busy:
                self._again = False
                self()

    def close(self) -> None:
        """Forget what is pending and take no more requests."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_CSS = """<style>
.vae-picture { image-rendering: pixelated; max-width: 100%; height: auto; object-fit: contain; }
.vae-panel .widget-html-content { line-height: 1.35; }
.vae-inactive .widget-label, .vae-inactive .widget-readout { color: #767676; }
.vae-inactive .noUi-connect { background: #bdbdbd; }
.vae-cells { z-index: 1; }
.vae-map { image-rendering: auto; }
.vae-cell.jupyter-button { background: transparent; font-weight: bold; line-height: 1; padding: 3px 4px;
  display: flex; align-items: flex-start; justify-content: flex-start;
  text-shadow: 0 0 2px #fff, 0 0 3px #fff, 0 0 4px #fff, 0 0 5px #fff; }
.vae-cell.jupyter-button:hover, .vae-cell.jupyter-button:focus { outline: 2px solid #333; outline-offset: -2px; }
</style>"""


class Panel(VBox):
    """What the widgets share: one body with a CSS class, a place for messages, and an end that leaves nothing.

    Args:
        css_class: of the body, the first child.
        children: of the body, laid out in a row that wraps.
        update: draws all pictures from the controls' values; what it raises is shown as a message.
        delay: seconds to gather requests, see `LatestWins`.
    """

    _listening: tuple = ()
    _ended = False

    def __init__(self, css_class: str, children: Sequence[Any], update: Callable[[], None], delay: float = 0) -> None:
        wrap = Layout(display="flex", flex_flow="row wrap", align_items="flex-start", grid_gap="4px 20px")
        body = Box(children, layout=wrap)
        body.add_class(css_class)
        self.message = ipywidgets.HTML(layout=Layout(min_height="28px", max_width="640px", overflow="visible"))
        super().__init__([body, self.message, ipywidgets.HTML(_CSS, layout=Layout(height="0", margin="0"))])
        self.add_class("vae-panel")
        self._draw = update
        self.refresh = LatestWins(self._guarded_draw, delay)
        _close_predecessors(self)
        self._guarded_draw()  # at once: a picture that comes on the page empty may stay so

    def say(self, sentence: str, alarm: bool = False) -> None:
        """Put a sentence under the widget; assistive technology reads it out."""
        colour = ' style="color:#b3261e"' if alarm else ""
        self.message.value = f'<div role="status" aria-live="polite"{colour}>{html.escape(sentence)}</div>'

    def _guarded_draw(self) -> None:
        try:
            self._draw()
        except Exception as error:
            self.say(f"{type(error).__name__}: {error}", alarm=True)

    def listen(self, control: Any, callback: Callable[..., None] | None = None) -> None:
        """Call `callback` (a new picture if left out) on each new value, or on each click of a button."""
        callback = callback or self.refresh
        if isinstance(control, Button):
            control.on_click(callback)
        else:
            control.observe(callback, "value")
        self._listening = (*self._listening, (control, callback))

    def close(self) -> None:
        """Take the widget off the page and let go of every callback; more calls do nothing."""
        if self._ended or not hasattr(self, "refresh"):
            return
        self._ended = True
        self.refresh.close()
        for control, callback in self._listening:
            if isinstance(control, Button):
                control.on_click(callback, remove=True)
            else:
                control.unobserve(callback, "value")
        self._listening = ()
        inside = list(_inside(self))
        super().close()
        for widget in inside:
            widget.close()


def _inside(widget: Any) -> Iterator[Any]:
    """All widgets in a widget, with their layouts and styles."""
    for name in ("layout", "style"):
        if isinstance(getattr(widget, name, None), ipywidgets.Widget):
            yield getattr(widget, name)
    for child in getattr(widget, "children", ()):
        yield from _inside(child)
        yield child


_OPEN: dict[str, tuple[str, weakref.WeakSet]] = {}  # notebook cell -> its last run, and the panels made in it


def _close_predecessors(panel: Panel) -> None:
    """Close the panels that an earlier run of the same notebook cell made, where the front end names the cell."""
    cell, run = _this_cell()
    if cell is None:
        return
    earlier_run, panels = _OPEN.get(cell, (run, weakref.WeakSet()))
    if earlier_run != run:
        for earlier in list(panels):
            earlier.close()
        panels = weakref.WeakSet()
    panels.add(panel)
    _OPEN[cell] = (run, panels)


def _this_cell() -> tuple[str | None, str]:
    """The id of the cell that runs now and of its run; None outside a notebook that tells."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel is not None else {}
    return (parent or {}).get("metadata", {}).get("cellId"), (parent or {}).get("header", {}).get("msg_id", "")


# --- parts -------------------------------------------------------------------------------------------


def _image(width: int) -> Image:
    """A lasting picture, `width` pixels wide where there is room; words beside it say what it shows.

    It has no tooltip: ipywidgets 8.1 cannot show an image that has one.
    """
    image = Image(format="png", layout=Layout(width=f"{width}px", height="auto", max_width="100%"))
    image.add_class("vae-picture")
    return image


def _text(words: str = "") -> ipywidgets.HTML:
    return ipywidgets.HTML(words, layout=Layout(margin="0"))


def _captioned(image: Image, caption: ipywidgets.HTML) -> VBox:
    return VBox([image, caption], layout=Layout(align_items="center", max_width="100%", margin="0"))


def _column(children: Sequence[Any], width: int, grow: bool = True) -> VBox:
    """A column that starts `width` wide, shrinks on a narrow page, and grows where there is room."""
    flex = f"{int(grow)} 1 {width}px"
    return VBox(children, layout=Layout(flex=flex, min_width="0", max_width="100%" if grow else f"{width}px"))


def _row(children: Sequence[Any]) -> Box:
    return Box(children, layout=Layout(display="flex", flex_flow="row wrap", grid_gap="2px 10px", margin="0"))


def _slider(name: str, low: float = -REACH, high: float = REACH, step: float = 0.05, value: float = 0.0) -> FloatSlider:
    return FloatSlider(
        value,
        min=low,
        max=high,
        step=step,
        description=name,
        readout_format="+.2f" if low < 0 else ".2f",
        style={"description_width": "5.5em"},
        layout=Layout(width="auto", flex="1 1 220px", min_width="0"),
    )


def _button(name: str, what: str) -> Button:
    return Button(description=name, tooltip=what, layout=Layout(width="auto"))


def _check_digits(z_mean: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes `(n, latent_dim)`, labels `(n,)` and images `(n, 28, 28, channels)` of the same digits, n ≥ 1."""
    z_mean, y, x = np.asarray(z_mean, np.float32), np.asarray(y), np.asarray(x)
    if z_mean.ndim != 2 or not len(z_mean) or y.shape != z_mean.shape[:1] or len(x) != len(y):
        raise ValueError(
            "z_mean must be (n, latent_dim), y (n,) and x (n, 28, 28, channels) of the same n ≥ 1 digits, "
            f"but are {z_mean.shape}, {y.shape} and {x.shape}."
        )
    if not np.isfinite(z_mean).all():
        raise ValueError("z_mean holds NaN or infinite numbers.")
    return z_mean, y.astype(int), check_images(x, "x", x.shape[-1] if x.ndim == 4 and x.shape[-1] == 3 else 1)


def _check_dims(dims: Sequence[int], latent_dim: int) -> tuple[int, ...]:
    """Two different dimensions, or the only one there is."""
    if latent_dim == 1:
        return (0,)
    dims = tuple(int(dim) for dim in dims)
    if len(dims) != 2 or dims[0] == dims[1] or not all(0 <= dim < latent_dim for dim in dims):
        raise ValueError(f"dims must be two different dimensions of 0…{latent_dim - 1}, but is {dims}.")
    return dims


def _map_words(dims: Sequence[int], points: np.ndarray, reach: float = MAP_REACH) -> str:
    height = f"up: z[{dims[1]}]" if len(dims) == 2 else "up: the class, 0 to 9"
    outside = int((np.abs(points) > reach).any(axis=1).sum())
    beyond = f"; {outside} digits lie beyond the map" if outside else ""
    return f"Across: z[{dims[0]}], {height}, in standard deviations of the prior{beyond}."


def _names(y: np.ndarray) -> str:
    return " ".join(map(str, y))


# --- the widgets -------------------------------------------------------------------------------------


class LatentSliders(Panel):
    """See `latent_sliders`. `sliders[i]` moves z[i]; `picture` is the decoded image; `z` is the point."""

    def __init__(
        self,
        decode: Decode,
        latent_dim: int,
        kl: np.ndarray | None,
        starts: Mapping[str, np.ndarray],
    ) -> None:
        self.decode, self.kl, self.starts = decode, kl, starts
        self.rng = np.random.default_rng(0)
        self.sliders = [_slider(f"z[{dim}]") for dim in range(latent_dim)]
        self.inactive = np.zeros(latent_dim, bool) if kl is None else kl < INACTIVE_BELOW
        self.picture = _image(224)
        self.start = Dropdown(
            options=["the middle (all zeros)", *starts],
            description="Start from",
            style={"description_width": "5.5em"},
            layout=Layout(width="auto", flex="1 1 200px", min_width="0", max_width="320px"),
        )
        self.reset = _button("Reset", "Put all sliders back to the start")
        self.draw = _button("Random draw", "Draw every slider from the prior, a standard normal distribution")
        self._image, self._moved = None, None
        order = range(latent_dim) if kl is None else information_order(kl)
        rows = [self._slider_row(dim) for dim in order]
        controls = _row([self.start, self.reset, self.draw])
        super().__init__("vae-latent-sliders", [_column([controls, *rows], 380), self.picture], self._show)
        for dim, slider in enumerate(self.sliders):
            self.listen(slider, lambda _, dim=dim: self._slider_moved(dim))
        self.listen(self.start, self._go_to_start)
        self.listen(self.reset, self._go_to_start)
        self.listen(self.draw, self._draw_z)

    def _slider_row(self, dim: int) -> Any:
        slider = self.sliders[dim]
        if self.kl is None:
            return _row([slider])
        words = f"{self.kl[dim]:.2f} nats"
        if self.inactive[dim]:
            words = '<span style="color:#767676">carries no information</span>'
            slider.style.handle_color = "#bdbdbd"
            slider.add_class("vae-inactive")
        row = _row([slider, ipywidgets.HTML(words, layout=Layout(width="12.5em", margin="0 0 0 4px"))])
        row.layout.align_items = "center"
        return row

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: where the sliders stand."""
        return np.array([slider.value for slider in self.sliders], np.float32)

    def _slider_moved(self, dim: int) -> None:
        self._moved = dim
        self.refresh()

    def _show(self) -> None:
        image = decoded(self.decode, self.z[np.newaxis])[0]
        before, self._image = self._image, image
        moved, self._moved = self._moved, None
        self.picture.value = digits_png(image[np.newaxis], 1, 1)  # the page enlarges it
        if moved is None or not self.inactive[moved] or before is None:
            self.say(self._off_the_ends())
        else:
            self.say(inactive_words(moved, float(self.kl[moved]), image, before))

    def _off_the_ends(self) -> str:
        wanted = self.starts.get(self.start.value)
        if wanted is None or np.abs(wanted).max() <= REACH or not np.array_equal(self.z, _on_sliders(wanted)):
            return ""
        return f"This digit lies beyond the sliders (up to {np.abs(wanted).max():.1f}); they stand at their ends."

    def _go_to_start(self, _: Any = None) -> None:
        self._place(self.starts.get(self.start.value, np.zeros(len(self.sliders))))

    def _draw_z(self, _: Any = None) -> None:
        self._place(self.rng.standard_normal(len(self.sliders)))

    def _place(self, z: np.ndarray) -> None:
        with self.refresh.hold():
            for slider, value in zip(self.sliders, _on_sliders(z), strict=True):
                slider.value = float(value)
            self._moved = None


def inactive_words(dim: int, kl: float, image: np.ndarray, before: np.ndarray) -> str:
    """Why nothing happens when a slider without information moves, with the largest change of a pixel as proof.

    Args:
        dim: which dimension moved.
        kl: its KL divergence in nats.
        image, before: `(28, 28, channels)` in [0, 1], after and before the move.
    """
    change = float(np.abs(image - before).max())
    proof = f"The largest change of a pixel was {change:.3f}, on a scale from 0 to 1."
    if change > 0.1:
        return f"z[{dim}] is listed with {kl:.3f} nats, yet the picture changes: is the list this decoder's? {proof}"
    return (
        f"z[{dim}] carries {kl:.3f} nats, so nothing happens: the encoder gives every digit the same cloud in this "
        f"dimension, and the decoder has learnt not to look at it. {proof}"
    )


def _on_sliders(z: np.ndarray) -> np.ndarray:
    """`z` where the sliders can show it, within ±3."""
    return np.clip(np.asarray(z, np.float32), -REACH, REACH)


def latent_sliders(
    decode: Decode,
    latent_dim: int,
    *,
    kl_per_dimension: np.ndarray | None = None,
    starts: Mapping[str, np.ndarray] | None = None,
) -> LatentSliders:
    """One slider per latent dimension, from −3 to +3 standard deviations of the prior, and the digit there.

    Args:
        decode: `(n, latent_dim)` -> `(n, 28, 28, channels)` in [0, 1], for example `compiled_decoder(vae)`.
        latent_dim: number of sliders, at least 1.
        kl_per_dimension: `(latent_dim,)` nats; the sliders stand in its order, and those below 0.01 nats are
            grey and say that they carry no information.
        starts: name -> code `(latent_dim,)` of a digit to start from.

    Raises:
        ValueError: a size does not fit.
    """
    if isinstance(latent_dim, bool) or not isinstance(latent_dim, (int, np.integer)) or latent_dim < 1:
        raise ValueError(f"latent_dim must be a whole number of at least 1, but is {latent_dim!r}.")
    kl = None if kl_per_dimension is None else np.asarray(kl_per_dimension, np.float64)
    if kl is not None and (kl.shape != (latent_dim,) or not np.isfinite(kl).all()):
        raise ValueError(f"kl_per_dimension must hold {latent_dim} finite numbers, but has the shape {kl.shape}.")
    starts = {str(name): np.asarray(z, np.float32) for name, z in (starts or {}).items()}
    for name, z in starts.items():
        if z.shape != (latent_dim,) or not np.isfinite(z).all():
            raise ValueError(f"The start {name!r} must be ({latent_dim},) finite numbers, but has the shape {z.shape}.")
    return LatentSliders(decode, int(latent_dim), kl, starts)


class LatentPlane(Panel):
    """See `latent_plane`. `sliders` move the two dimensions, `cells` are the buttons of the map."""

    def __init__(self, decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, dims: Sequence[int]) -> None:
        self.decode, self.z_mean, self.y, self.x, self.dims = decode, z_mean, y, x, dims
        points = plane_points(z_mean, y, dims)
        self._sheet = plane_map(points, y, names=False)
        self.sliders = [_slider(f"z[{dim}]") for dim in dims]
        self.map = _image(MAP_SIZE)
        self.picture = _image(168)
        self.neighbours = _image(248)
        self._near = _text()
        centres, classes = cell_classes(points, y)
        self.cells = self._buttons(centres, classes)
        stack = Box(
            [self.map, self._grid()],
            layout=Layout(display="grid", width=f"{MAP_SIZE}px", max_width="100%", overflow="hidden"),
        )
        self.map.layout.grid_area = "1 / 1"
        self.map.add_class("vae-map")
        left = _column([stack, _text(_map_words(dims, points))], MAP_SIZE, grow=False)
        pictures = _row(
            [_captioned(self.picture, _text("decoded")), _captioned(self.neighbours, self._near)],
        )
        right = _column([*(_row([slider]) for slider in self.sliders), pictures], 300)
        super().__init__("vae-latent-plane", [left, right], self._show)
        for slider in self.sliders:
            self.listen(slider)
        for button, centre in zip(self.cells, centres, strict=True):
            self.listen(button, lambda _, centre=centre: self.place(centre))

    def _buttons(self, centres: np.ndarray, classes: np.ndarray) -> list[Button]:
        layout = Layout(width="auto", height="auto", margin="0", border="none", min_width="0")
        buttons = []
        for centre, label in zip(centres, classes, strict=True):
            where = ", ".join(f"z[{dim}] = {value:+.0f}" for dim, value in zip(self.dims, centre, strict=False))
            name, who = (str(label), f"mostly {label}s") if label >= 0 else ("·", "no test digit here")
            button = Button(description=name, tooltip=f"{where}: {who}", layout=layout)
            button.style.text_color = CLASS_COLOURS[label] if label >= 0 else "#767676"
            button.style.font_size = "15px"
            button.add_class("vae-cell")
            buttons.append(button)
        return buttons

    def _grid(self) -> GridBox:
        equal = f"repeat({MAP_CELLS}, minmax(0, 1fr))"
        layout = Layout(grid_area="1 / 1", grid_template_columns=equal, grid_template_rows=equal, margin="2px")
        grid = GridBox(self.cells, layout=layout)
        grid.add_class("vae-cells")
        return grid

    @property
    def z(self) -> np.ndarray:
        """`(latent_dim,) float32`: the chosen point; dimensions without a slider are 0."""
        z = np.zeros(self.z_mean.shape[1], np.float32)
        z[list(self.dims)] = [slider.value for slider in self.sliders]
        return z

    def place(self, point: Sequence[float]) -> None:
        """Move the sliders to `point`, one number per slider."""
        with self.refresh.hold():
            for slider, value in zip(self.sliders, point, strict=False):
                slider.value = float(value)

    def _show(self) -> None:
        z = self.z
        mark = np.append(z[list(self.dims)], 0.0)[np.newaxis, :2]
        self.map.value = png_bytes(with_marks(self._sheet, mark, SPHERICAL, 7), palette=PALETTE)
        found, distances = nearest(self.z_mean, z)
        self.neighbours.value = digits_png(self.x[found], 4, 2, gap=2)
        self._near.value = f"nearest real digits: {_names(self.y[found])}<br>(distance {distances[0]:.2f} and more)"
        self.picture.value = digits_png(decoded(self.decode, z[np.newaxis]), 1, 6)
        self.say("")


def latent_plane(
    decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, *, dims: tuple[int, int] = (0, 1)
) -> LatentPlane:
    """A map of digits on two dimensions of the latent space; a point on it, the digit there, its real neighbours.

    Args:
        decode: `(n, latent_dim)` -> `(n, 28, 28, channels)` in [0, 1].
        z_mean: `(n, latent_dim)` codes of the test digits. With one dimension the map's height is the class.
        y: `(n,) int` labels.
        x: `(n, 28, 28, channels)` in [0, 1], the digits.
        dims: the two dimensions; all others are 0 at the point, and count in the distance to its neighbours.

    Raises:
        ValueError: arrays that do not fit together, or `dims` that are not two different dimensions.
    """
    z_mean, y, x = _check_digits(z_mean, y, x)
    return LatentPlane(decode, z_mean, y, x, _check_dims(dims, z_mean.shape[1]))


class Interpolation(Panel):
    """See `interpolation`. `start` and `end` choose the digits, `t` is the slider."""

    def __init__(self, decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, dims: Sequence[int]) -> None:
        self.decode, self.z_mean, self.y, self.x, self.dims = decode, z_mean, y, x, dims
        points = plane_points(z_mean, y, dims)
        self._reach = map_reach(points)
        self._sheet = plane_map(points, y, self._reach)
        other = np.flatnonzero(y != y[0])
        self.start = self._chooser("From digit no.", 0)
        self.end = self._chooser("To digit no.", int(other[0]) if len(other) else len(y) - 1)
        self.t = _slider("t", 0, 1, 0.01, 0.5)
        self.t.style.description_width = "1.5em"
        self.map = _image(MAP_SIZE)
        self.map.add_class("vae-map")
        self.pictures, self._captions, captioned = {}, {}, []
        for name in ("from", "straight", "spherical", "to"):
            self.pictures[name], self._captions[name] = _image(112), _text(name)
            captioned.append(_captioned(self.pictures[name], self._captions[name]))
        left = _column([self.map, _text(_map_words(dims, points, self._reach))], MAP_SIZE, grow=False)
        right = _column([_row([self.start, self.end]), _row([self.t]), _row(captioned)], 300)
        self._ends: tuple[int, int] | None = None
        super().__init__("vae-interpolation", [left, right], self._show)
        for control in (self.start, self.end, self.t):
            self.listen(control)

    def _chooser(self, name: str, value: int) -> ipywidgets.BoundedIntText:
        return ipywidgets.BoundedIntText(
            value,
            min=0,
            max=len(self.y) - 1,
            description=name,
            continuous_update=False,
            style={"description_width": "7em"},
            layout=Layout(width="13em"),
        )

    def paths(self, t: float | np.ndarray) -> dict[str, np.ndarray]:
        """The points `(…, latent_dim)` of both paths for t `(…)` in [0, 1]."""
        a, b = self.z_mean[self.start.value], self.z_mean[self.end.value]
        return {"straight": straight(a, b, t), "spherical": spherical(a, b, t)}

    def _show(self) -> None:
        if self._ends != (self.start.value, self.end.value):
            self._draw_ends()
        here = self.paths(self.t.value)
        sheet = self._path_sheet
        for (name, z), colour in zip(here.items(), (STRAIGHT, SPHERICAL), strict=True):
            sheet = with_marks(sheet, self._on_map(z[np.newaxis]), colour, 6, self._reach)
            self._captions[name].value = f"{name}<br>length of z: {np.linalg.norm(z):.2f}"
        self.map.value = png_bytes(sheet, palette=PALETTE)
        for name, image in zip(here, decoded(self.decode, np.stack(list(here.values()))), strict=True):
            self.pictures[name].value = digits_png(image[np.newaxis], 1, 4)
        self.say("")

    def _draw_ends(self) -> None:
        """What changes with the two digits only: their pictures, and the paths on the map."""
        for name, index in (("from", self.start.value), ("to", self.end.value)):
            self.pictures[name].value = digits_png(self.x[index][np.newaxis], 1, 4)
            length = np.linalg.norm(self.z_mean[index])
            self._captions[name].value = f"{name}: a real {self.y[index]}<br>length of z: {length:.2f}"
        sheet = self._sheet
        for z, colour in zip(self.paths(np.linspace(0, 1, 200)).values(), (STRAIGHT, SPHERICAL), strict=True):
            sheet = with_marks(sheet, self._on_map(z), colour, 1.5, self._reach)
        ends = self._on_map(self.z_mean[[self.start.value, self.end.value]])
        self._path_sheet = with_marks(sheet, ends, _TEXT, 4, self._reach)
        self._ends = (self.start.value, self.end.value)

    def _on_map(self, z: np.ndarray) -> np.ndarray:
        return np.concatenate([z[:, list(self.dims)], np.zeros((len(z), 1))], axis=1)[:, :2]


def interpolation(
    decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray, *, dims: tuple[int, int] = (0, 1)
) -> Interpolation:
    """From one digit to another, straight (blue) and on a spherical path (orange), side by side and on the map.

    Args:
        decode: `(n, latent_dim)` -> `(n, 28, 28, channels)` in [0, 1].
        z_mean: `(n, latent_dim)` codes of the digits to choose from.
        y: `(n,) int` labels.
        x: `(n, 28, 28, channels)` in [0, 1], the digits.
        dims: the two dimensions of the map, on which the paths cast their shadow.

    Raises:
        ValueError: arrays that do not fit together, or `dims` that are not two different dimensions.
    """
    z_mean, y, x = _check_digits(z_mean, y, x)
    return Interpolation(decode, z_mean, y, x, _check_dims(dims, z_mean.shape[1]))


class NoiseSlider(Panel):
    """See `noise_slider`. `kind`, `level` and `digit` are the controls."""

    def __init__(self, reconstruct: Decode, x: np.ndarray, kinds: Sequence[str]) -> None:
        self.reconstruct, self.x = reconstruct, x
        style, wide = {"description_width": "5.5em"}, Layout(width="auto", flex="1 1 220px", min_width="0")
        self.kind = Dropdown(options=list(kinds), description="Noise", style=style, layout=wide)
        self.level = _slider("Level", 0, 1, 0.05, 0.5)
        self.digit = ipywidgets.BoundedIntText(
            0, min=0, max=len(x) - 1, description="Digit no.", style=style, layout=Layout(width="11em")
        )
        self.pictures, self._captions, captioned = {}, {}, []
        for name in ("original", "noisy", "cleaned"):
            self.pictures[name], self._captions[name] = _image(196), _text(name)
            captioned.append(_captioned(self.pictures[name], self._captions[name]))
        controls = _row([self.kind, self.level, self.digit])
        controls.layout.width = "100%"
        controls.layout.max_width = "760px"
        super().__init__("vae-noise-slider", [controls, *captioned], self._show)
        for control in (self.kind, self.level, self.digit):
            self.listen(control)

    def _show(self) -> None:
        clean = self.x[self.digit.value][np.newaxis]
        spoilt = noisy(clean, self.kind.value, self.level.value, seed=self.digit.value)
        for name, image in (("original", clean), ("noisy", spoilt)):
            self.pictures[name].value = digits_png(image, 1, 7)
        self._captions["noisy"].value = f"noisy: {_decibels(clean, spoilt)}"
        cleaned = decoded(self.reconstruct, spoilt)
        self.pictures["cleaned"].value = digits_png(cleaned, 1, 7)
        self._captions["cleaned"].value = f"cleaned: {_decibels(clean, cleaned)}"
        self.say("")


def _decibels(clean: np.ndarray, other: np.ndarray) -> str:
    from vae_utils.metrics import psnr  # here, so that the other widgets need no Keras

    value = psnr(clean, other)[0]
    return f"PSNR {value:.1f} dB" if np.isfinite(value) else "the same pixels"


def noise_slider(
    reconstruct: Decode, x: np.ndarray, *, kinds: Sequence[str] = ("Gaussian", "salt and pepper")
) -> NoiseSlider:
    """A digit, the same digit with noise, and what `reconstruct` makes of that, with the PSNR of both.

    Args:
        reconstruct: `(n, 28, 28, 1)` -> `(n, 28, 28, 1)` in [0, 1], any denoiser.
        x: `(n, 28, 28, 1)` in [0, 1], the digits to choose from, n ≥ 1.
        kinds: names in `NOISES`.

    Raises:
        ValueError: no digits, wrong pixels, or a kind of noise there is not.
    """
    x = check_images(x)
    if not len(x):
        raise ValueError("x must hold at least one digit.")
    unknown = [kind for kind in kinds if kind not in NOISES]
    if unknown or not kinds:
        raise ValueError(f"There is no noise {unknown}; choose from {', '.join(NOISES)}.")
    return NoiseSlider(reconstruct, x, kinds)


PAD = 224  # pixels of the drawing pad


class DrawADigit(Panel):
    """See `draw_a_digit`. `pad` is the canvas; `strokes` what was drawn on it."""

    def __init__(self, encode: Encode, decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
        from ipycanvas import Canvas  # here, so that the other widgets work where only core widgets do

        self.encode, self.decode, self.z_mean, self.y, self.x = encode, decode, z_mean, y, x
        self.strokes: list[list[tuple[float, float]]] = []
        self._pen_is_down = False
        self.dims = _check_dims((0, 1), z_mean.shape[1])
        points = plane_points(z_mean, y, self.dims)
        self._reach = map_reach(points)
        self._sheet = plane_map(points, y, self._reach)
        self.pad = Canvas(width=PAD, height=PAD, layout=Layout(width=f"{PAD}px", height=f"{PAD}px"))
        self.pad.add_class("vae-pad")
        self._other_pad = Canvas(width=1, height=1)  # never shown, see _paint
        self.clear = _button("Clear", "Wipe the drawing pad")
        shown = min(len(y), 100)
        self.sample = Dropdown(
            options=[("none", -1), *[(f"no. {i}: a {y[i]}", i) for i in range(shown)]],
            description="Or test digit",
            style={"description_width": "6em"},
            layout=Layout(width="13.5em"),
        )
        self.pictures, captioned = {}, []
        captions = {"seen": "made like MNIST", "reconstruction": "reconstruction"}
        for name, caption in captions.items():
            self.pictures[name] = _image(112)
            captioned.append(_captioned(self.pictures[name], _text(caption)))
        self.pictures["neighbours"] = _image(248)
        self._near, self._code = _text("nearest real digits"), _text()
        self.map = _image(224)
        self.map.add_class("vae-map")
        left = _column([self.pad, _row([self.clear, self.sample])], 250, grow=False)
        middle = _column(
            [_row(captioned), _captioned(self.pictures["neighbours"], self._near), self._code], 260, grow=False
        )
        right = _column([self.map, _text(_map_words(self.dims, points, self._reach))], 230, grow=False)
        super().__init__("vae-draw-a-digit", [left, middle, right], self._show, delay=0.1)
        self.listen(self.clear, lambda _: self.wipe())
        self.listen(self.sample)
        self._pad_callbacks = self._connect_pad()

    def _connect_pad(self) -> list[tuple[Callable[..., None], Callable[..., None]]]:
        def first(points: Sequence[Sequence[float]]) -> Sequence[float]:
            return points[0][:2]

        pairs = [
            (self.pad.on_mouse_down, self.pen_down),
            (self.pad.on_mouse_move, self.pen_move),
            (self.pad.on_mouse_up, lambda *_: self.pen_up()),
            (self.pad.on_mouse_out, lambda *_: self.pen_up()),
            (self.pad.on_touch_start, lambda points: points and self.pen_down(*first(points))),
            (self.pad.on_touch_move, lambda points: points and self.pen_move(*first(points))),
            (self.pad.on_touch_end, lambda *_: self.pen_up()),
            (self.pad.on_client_ready, self._paint),
        ]
        for register, callback in pairs:
            register(callback)
        return pairs

    def close(self) -> None:
        for register, callback in getattr(self, "_pad_callbacks", ()):
            register(callback, remove=True)
        self._pad_callbacks = []
        if hasattr(self, "_other_pad"):
            self._other_pad.close()
        super().close()

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
        """Empty the pad."""
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

    def digit(self) -> np.ndarray:
        """`(28, 28, 1)`: the drawing as an MNIST digit, or the chosen test digit.

        Raises:
            ValueError: nothing is drawn.
        """
        return self.x[self.sample.value] if self.sample.value >= 0 else as_mnist(rasterise(self.strokes, PAD))

    def _show(self) -> None:
        if not self.strokes and self.sample.value < 0:
            return self._show_nothing()
        digit = self.digit()[np.newaxis]
        self.pictures["seen"].value = digits_png(digit, 1, 4)
        z_mean, z_log_var = (np.asarray(part, np.float32) for part in self.encode(digit))
        if z_mean.shape != (1, self.z_mean.shape[1]) or z_log_var.shape != z_mean.shape:
            raise ValueError(f"encode must give two arrays (1, {self.z_mean.shape[1]}), but gives {z_mean.shape}.")
        z, spread = z_mean[0], np.exp(z_log_var[0] / 2)
        self._code.value = code_words(z, spread)
        found, _ = nearest(self.z_mean, z)
        self.pictures["neighbours"].value = digits_png(self.x[found], 4, 2, gap=2)
        self._near.value = f"nearest real digits: {_names(self.y[found])}"
        self.map.value = png_bytes(self._marked(z, spread), palette=PALETTE)
        self.pictures["reconstruction"].value = digits_png(decoded(self.decode, z_mean), 1, 4)
        self.say("")

    def _marked(self, z: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """The map with the code and, around it, one standard deviation of its cloud."""
        dims = list(self.dims)
        turn = np.linspace(0, 2 * np.pi, 120)[:, np.newaxis]
        centre, radii = np.append(z[dims], 0.0)[:2], np.append(spread[dims], 0.0)[:2]
        ring = centre + radii * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
        sheet = with_marks(self._sheet, ring, SPHERICAL, 1, self._reach)
        return with_marks(sheet, centre[np.newaxis], _TEXT, 4, self._reach)

    def _show_nothing(self) -> None:
        black = np.zeros((1, 28, 28, 1), np.float32)
        for name in ("seen", "reconstruction"):
            self.pictures[name].value = digits_png(black, 1, 4)
        self.pictures["neighbours"].value = digits_png(black[[0] * NEIGHBOURS], 4, 2, gap=2)
        self._near.value, self._code.value = "nearest real digits", ""
        self.map.value = png_bytes(self._sheet, palette=PALETTE)
        self.say("The drawing is empty: draw a digit on the black square, or choose a test digit.")


def code_words(z_mean: np.ndarray, spread: np.ndarray) -> str:
    """Mean and standard deviation of every dimension, `z[0] = +1.20 ± 0.08`, as HTML that wraps.

    Args:
        z_mean, spread: `(latent_dim,)`.
    """
    parts = [f"z[{i}] = {m:+.2f} ± {s:.2f}" for i, (m, s) in enumerate(zip(z_mean, spread, strict=True))]
    spans = " ".join(f'<span style="white-space:nowrap; margin-right:1em">{part}</span>' for part in parts)
    return f"encoded (mean ± spread):<br>{spans}"


def draw_a_digit(encode: Encode, decode: Decode, z_mean: np.ndarray, y: np.ndarray, x: np.ndarray) -> DrawADigit:
    """A drawing pad; the drawing becomes a digit as MNIST's are, is encoded, decoded, and placed among its neighbours.

    The pad is an ipycanvas `Canvas`: core ipywidgets tell Python of no mouse movement. By the keyboard, a test
    digit can be chosen instead.

    Args:
        encode: `(n, 28, 28, 1)` -> `(z_mean, z_log_var)`, each `(n, latent_dim)`.
        decode: `(n, latent_dim)` -> `(n, 28, 28, 1)` in [0, 1].
        z_mean: `(n, latent_dim)` codes of the test digits.
        y: `(n,) int` labels.
        x: `(n, 28, 28, 1)` in [0, 1], the digits.

    Raises:
        ValueError: arrays that do not fit together.
    """
    z_mean, y, x = _check_digits(z_mean, y, x)
    return DrawADigit(encode, decode, z_mean, y, check_images(x))
