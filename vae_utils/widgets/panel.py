"""What the sliders share: a panel that draws the newest values, reports errors and closes completely; its parts."""

from __future__ import annotations

import html
import traceback
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from IPython import get_ipython
from ipywidgets import HTML, Box, FloatSlider, Image, Layout, VBox, Widget


class Panel(VBox):
    """A body of `children` in a row that wraps, and a line for messages; subclasses define `draw_pictures()`.

    `css_class` marks the body, the first child. What `draw_pictures` raises, from the user's functions too, is shown as
    one sentence; the traceback goes to stderr. JupyterLab shows that below the cell while the cell runs; later, when a
    slider moves, no cell is running, and it appears in the log console (menu View, Show Log Console).
    """

    css = """
.vae-picture { image-rendering: pixelated; max-width: 100%; height: auto; object-fit: contain; }
.vae-inactive .widget-label, .vae-inactive .widget-readout { color: #767676; }
"""

    def __init__(self, css_class: str, children: Sequence[Any]) -> None:
        body = put_in_row(*children, grid_gap="4px 20px", align_items="flex-start")
        body.add_class(css_class)
        self.message, self._held = HTML(layout=Layout(min_height="28px", max_width="640px")), False
        super().__init__([body, self.message, make_text(f"<style>{self.css}</style>", height="0")])
        close_earlier_panels(self)
        self.refresh()  # at once: an image that reaches the page without a picture may stay empty

    def refresh(self, *_: Any) -> None:
        """Draw the pictures for the controls' values; every control calls it when it changes."""
        if self._held or self.comm is None:
            return
        try:
            self.draw_pictures()
            self.message.value = ""
        except Exception as error:
            before, sentence = self.message.value, html.escape(f"{type(error).__name__}: {error}")
            self.message.value = f'<div role="status" style="color:#b3261e">{sentence}</div>'
            if self.message.value != before:  # once, not for each tick of a slider
                traceback.print_exc()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Merge all changes made inside into one picture."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.refresh()

    def close(self) -> None:
        """Take the widget and all its parts off the page; what its controls are told then does nothing."""
        inside = list(find_widgets(self))
        super().close()
        for widget in inside:
            widget.unobserve_all()
            widget.close()


def find_widgets(widget: Any) -> Iterator[Any]:
    """All widgets in a widget, with their layouts and styles."""
    yield from (part for name in ("layout", "style") if isinstance(part := getattr(widget, name, None), Widget))
    for child in getattr(widget, "children", ()):
        yield from find_widgets(child)
        yield child


_open_widgets: weakref.WeakSet[Widget] = weakref.WeakSet()


def close_earlier_panels(panel: Widget) -> None:
    """Close what an earlier run of the same notebook cell made, where the front end names the cell."""
    kernel = getattr(get_ipython(), "kernel", None)
    request = (kernel.get_parent() if kernel is not None else None) or {}
    panel.cell, panel.run = request.get("metadata", {}).get("cellId"), request.get("header", {}).get("msg_id")
    for earlier in list(_open_widgets):
        if panel.cell is not None and earlier.cell == panel.cell and earlier.run != panel.run:
            earlier.close()
    _open_widgets.add(panel)


def make_image(width: int) -> Image:
    """A picture `width` pixels wide where the page allows. Without a tooltip: ipywidgets 8.1 cannot show one."""
    image = Image(format="png", layout=Layout(width=f"{width}px", height="auto", max_width="100%"))
    image.add_class("vae-picture")
    return image


def make_text(words: str = "", **layout: Any) -> HTML:
    """A line of HTML."""
    return HTML(words, layout=Layout(**{"margin": "0", **layout}))


def make_slider(name: str, low: float, high: float, step: float = 0.05, value: float = 0.0) -> FloatSlider:
    """A slider that takes the width there is."""
    limits = {"min": low, "max": high, "step": step, "readout_format": "+.2f" if low < 0 else ".2f"}
    layout = Layout(width="auto", flex="1 1 220px", min_width="0")
    return FloatSlider(value, description=name, layout=layout, style={"description_width": "5.5em"}, **limits)


def put_in_row(*children: Any, **layout: Any) -> Box:
    """Widgets side by side, wrapped where the page is narrow."""
    usual = {"display": "flex", "flex_flow": "row wrap", "grid_gap": "2px 10px", "margin": "0"}
    return Box(children, layout=Layout(**usual | layout))


def put_in_column(*children: Any, width: str = "auto", grow: int = 0) -> VBox:
    """Widgets below each other that shrink on a narrow page and, with `grow`, take the width there is."""
    return VBox(children, layout=Layout(flex=f"{grow} 1 {width}", min_width="0", max_width="100%", margin="0"))
