"""What all widgets share: a panel that draws the newest values, reports errors and closes completely; its parts."""

from __future__ import annotations

import html
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from IPython import get_ipython
from ipywidgets import HTML, Box, Button, FloatSlider, Image, Layout, VBox, Widget


class LatestWins:
    """Calls `update` for the newest request; requests made during an update or inside `hold()` become one more.

    The browser sends a slider's newest value only after the callback for the last one has returned, and the callback
    draws: a slow decoder skips values, and no queue grows. This class does the same for changes made in Python (ten
    sliders at once).
    """

    def __init__(self, update: Callable[[], None]) -> None:
        self.update = update
        self._holds, self._again = 0, False

    def __call__(self, *_: Any) -> None:
        if self._holds:
            self._again = True
            return
        with self.hold():
            self.update()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Merge all requests made inside into one, made at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._again and not self._holds:
                self._again = False
                self()

    def close(self) -> None:
        """Ignore further requests."""
        self.update = lambda: None


class Panel(VBox):
    """A body of `children` in a row that wraps, and a line for messages; subclasses define `draw_pictures()`.

    `css_class` marks the body, the first child.

    What `draw_pictures` raises, from the user's functions too, is shown as one sentence; the traceback goes to stderr.
    JupyterLab shows that below the cell while the cell runs; later, when a slider moves, no cell is running, and it
    appears in the log console (menu View, Show Log Console).
    """

    css = """
.vae-picture { image-rendering: pixelated; max-width: 100%; height: auto; object-fit: contain; }
.vae-panel .widget-html-content { line-height: 1.35; }
.vae-inactive .widget-label, .vae-inactive .widget-readout { color: #767676; }
.vae-inactive .noUi-connect { background: #bdbdbd; }
"""

    def __init__(self, css_class: str, children: Sequence[Any]) -> None:
        body = Box(children, layout=Layout(display="flex", flex_flow="row wrap", grid_gap="4px 20px"))
        body.layout.align_items = "flex-start"
        body.add_class(css_class)
        self.message = HTML(layout=Layout(min_height="28px", max_width="640px", overflow="visible"))
        super().__init__([body, self.message, make_text(f"<style>{self.css}</style>", height="0")])
        self.add_class("vae-panel")
        self.refresh = LatestWins(self._draw)
        self.on_close: list[Callable[[], Any]] = [self.refresh.close]
        close_earlier_panels(self)
        self._draw()  # at once: an image that reaches the page without a picture may stay empty

    def say(self, sentence: str, alarm: bool = False) -> None:
        """Write a sentence below the widget; screen readers read it out."""
        colour = ' style="color:#b3261e"' if alarm else ""
        self.message.value = f'<div role="status" aria-live="polite"{colour}>{html.escape(sentence)}</div>'

    def _draw(self) -> None:
        try:
            self.draw_pictures()
        except Exception as error:
            before = self.message.value
            self.say(f"{type(error).__name__}: {error}", alarm=True)
            if self.message.value != before:  # once, not for each tick of a slider
                traceback.print_exc()

    def listen(self, control: Any, callback: Callable[..., None] | None = None) -> None:
        """Call `callback` (`self.refresh` if left out) on each new value, or on each click of a button."""
        callback = callback or self.refresh
        if isinstance(control, Button):
            control.on_click(callback)
            self.on_close.append(partial(control.on_click, callback, remove=True))
        else:
            control.observe(callback, "value")
            self.on_close.append(partial(control.unobserve, callback, "value"))

    def close(self) -> None:
        """Take the widget off the page and let go of every callback; further calls do nothing."""
        if self.comm is None:  # closed before, or refused for bad input
            return
        for action in self.on_close:
            action()
        self.on_close.clear()
        inside = list(find_widgets(self))
        super().close()
        for widget in inside:
            widget.close()


def find_widgets(widget: Any) -> Iterator[Any]:
    """All widgets in a widget, with their layouts and styles."""
    yield from (part for name in ("layout", "style") if isinstance(part := getattr(widget, name, None), Widget))
    for child in getattr(widget, "children", ()):
        yield from find_widgets(child)
        yield child


_open_panels: weakref.WeakSet[Panel] = weakref.WeakSet()


def close_earlier_panels(panel: Panel) -> None:
    """Close the panels that an earlier run of the same notebook cell made, where the front end names the cell."""
    kernel = getattr(get_ipython(), "kernel", None)
    request = (kernel.get_parent() if kernel is not None else None) or {}
    panel.cell, panel.run = request.get("metadata", {}).get("cellId"), request.get("header", {}).get("msg_id")
    for earlier in list(_open_panels):
        if panel.cell is not None and earlier.cell == panel.cell and earlier.run != panel.run:
            earlier.close()
    _open_panels.add(panel)


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
    return Box(children, layout=Layout(display="flex", flex_flow="row wrap", grid_gap="2px 10px", margin="0", **layout))


def put_in_column(*children: Any, width: int, grow: bool = True) -> VBox:
    """A column `width` pixels wide that shrinks on a narrow page and, with `grow`, takes the width there is."""
    limit = "100%" if grow else f"{width}px"
    return VBox(children, layout=Layout(flex=f"{int(grow)} 1 {width}px", min_width="0", max_width=limit))


def put_caption(image: Image, caption: HTML) -> VBox:
    """A picture with a line below it."""
    return VBox([image, caption], layout=Layout(align_items="center", max_width="100%", margin="0"))
