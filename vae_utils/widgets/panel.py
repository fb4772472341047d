"""What the sliders share: a panel that shows the images of a user's function, reports its errors, closes completely."""

import html
import io
import traceback
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from IPython import get_ipython
from ipywidgets import HTML, Box, Widget
from PIL import Image

# Rows wrap where the page is narrow; sliders and menus take the width there is.
STYLE = """<style>
.vae-panel, .vae-panel .widget-hbox { flex-flow: row wrap; align-items: flex-start; gap: 0 14px; }
.vae-panel > .widget-hbox, .vae-panel > .widget-html { flex: 1 1 100%; min-height: 28px; }
.vae-panel :is(.widget-slider, .widget-dropdown, .jupyter-button) { width: auto; min-width: 0; }
.vae-panel .widget-hbox > :is(.widget-slider, .widget-dropdown) { flex: 1 1 220px; }
.vae-panel .widget-dropdown { max-width: 320px; }
.vae-panel .widget-text { width: 11em; }
.vae-panel .widget-inline-hbox .widget-label { width: 5.5em; }
.vae-panel [role="status"] { color: #b3261e; }
.vae-panel img { image-rendering: pixelated; }
.vae-latent-sliders > .widget-vbox { flex: 1 1 380px; }
.vae-latent-sliders .widget-hbox .widget-html { width: 12.5em; }
.vae-panel .vae-inactive :is(.widget-label, .widget-readout) { color: #767676; }
</style>"""


def close_with_parts(widget: Widget) -> None:
    """Close a widget and all in it, with their layouts and styles."""
    Widget.close(widget)
    for part in (*getattr(widget, "children", ()), getattr(widget, "layout", None), getattr(widget, "style", None)):
        if part is not None:
            close_with_parts(part)


class Panel(Box):
    """Children in a row that wraps, and a line for messages; subclasses define `draw_pictures()`.

    It is called whenever the value of one of the `controls` changes, and calls the user's `function`, `name` in
    messages. What it raises is shown as one sentence; the traceback goes to stderr. JupyterLab shows that below the
    cell while the cell runs; later, when a slider moves, it appears in the log console (menu View, Show Log Console).
    """

    close = close_with_parts

    def __init__(self, function: Callable, name: str, children: Sequence[Widget], controls: Sequence[Widget]) -> None:
        if not callable(function):
            raise ValueError(f"{name} must be a function that returns images, not {type(function).__name__}.")
        self.function, self.name, self.held, self.message = function, name, False, HTML()
        super().__init__([*children, self.message, HTML(STYLE, layout={"display": "none"})])
        self.add_class("vae-panel")
        for control in controls:
            control.observe(self.refresh, "value")
        close_earlier_panels(self)
        self.refresh()  # at once: an image that reaches the page without a picture may stay empty

    def refresh(self, _: Any = None) -> None:
        """Draw the pictures for the controls' values, unless the panel is `held` or closed."""
        if self.held or self.comm is None:
            return
        message = ""
        try:
            self.draw_pictures()
        except Exception as error:
            message = f'<div role="status">{html.escape(f"{type(error).__name__}: {error}")}</div>'
            if message != self.message.value:  # once, not for each tick of a slider
                traceback.print_exc()
        self.message.value = message

    def make_images(self, batch: np.ndarray) -> np.ndarray:
        """`function(batch)`, `(n, height, width, 1 or 3)`, clipped to [0, 1]; `batch` `(n, …)` is given as float32.

        ValueError for another shape, NaN or infinite pixels.
        """
        images = np.asarray(self.function(np.asarray(batch, np.float32)))
        if images.ndim != 4 or len(images) != len(batch) or images.shape[-1] not in (1, 3):
            wanted = f"({len(batch)}, height, width, 1 or 3) for an input of shape {np.shape(batch)}"
            raise ValueError(f"{self.name} must return {wanted}, but returns {images.shape}.")
        if not np.isfinite(images).all():
            raise ValueError(f"{self.name} returns NaN or infinite pixels.")
        return np.clip(images, 0, 1)


_made: WeakKeyDictionary[Widget, tuple[Any, Any]] = WeakKeyDictionary()  # each panel's notebook cell and its run


def close_earlier_panels(panel: Widget) -> None:
    """Close what an earlier run of the same notebook cell made, where the front end names the cell."""
    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent() if kernel else {}
    cell, run = request.get("metadata", {}).get("cellId"), request.get("header", {}).get("msg_id")
    for earlier, (its_cell, its_run) in list(_made.items()):
        if cell is not None and its_cell == cell and its_run != run:
            earlier.close()
    _made[panel] = cell, run


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture `(height, width, 1 or 3)` in [0, 1] as PNG of its own size, which the page enlarges.

    It is written for speed, not for size, and without a figure.
    """
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
