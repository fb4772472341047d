"""Progress of a training: a bar and a picture, replaced in place, in a notebook; a line per epoch elsewhere."""

import time
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import HTML, display

from vae_utils import plots


class Progress:
    """In a notebook a bar with the time left, and loss curves above reconstructions of `images`; elsewhere lines.

    `live` asks for the notebook's display (True) or lines (False); None takes what fits the place where this runs.
    """

    def __init__(self, model: Any, epochs: int, images: np.ndarray, live: bool | None) -> None:
        self.model, self.epochs, self.images = model, epochs, images
        self.live = type(get_ipython()).__name__ == "ZMQInteractiveShell" if live is None else live
        if self.live:
            self.bar, self.picture = (display(HTML(text), display_id=True) for text in ("Starting …", ""))
        self.drawn = time.perf_counter()

    def show_step(self, log: Any, position: float) -> None:
        """Move the bar, at most four times a second; `position` is in epochs."""
        if not self.live or time.perf_counter() - self.drawn < 0.25:
            return
        self.drawn = time.perf_counter()
        left = log.seconds / position * (self.epochs - position)
        loss = f", training loss {log.step_loss[-1]:.1f} nats" if log.step_loss else ""
        text = f"epoch {min(int(position) + 1, self.epochs)} of {self.epochs}, about {left:.0f} s left{loss}"
        self.bar.update(HTML(f'<progress value="{position / self.epochs:.3f}" max="1"></progress> {text}'))

    def show_epoch(self, log: Any) -> None:
        """Draw the curves and the reconstructions again, or print the losses of the last epoch in nats per image."""
        if self.live:
            figure, _ = plots.training_progress(log, self.images, self.model.reconstruct(self.images))
            alt = f"Loss curves after {log.epochs} epochs; below, {len(self.images)} images and their reconstructions."
            plots.show(figure, alt, self.picture)
            return
        validation = {name: values[-1] for name, values in log.validation.items()}
        terms = " = {reconstruction_loss:.2f} reconstruction + {kl_loss:.2f} KL (before beta)"
        terms = terms.format(**validation) if "kl_loss" in validation else ""
        losses = f"train {log.train['loss'][-1]:.2f}  validation {validation['loss']:.2f}{terms}"
        pace = log.seconds / log.epochs
        times = f"{pace:.1f} s per epoch, {pace * (self.epochs - log.epochs):.0f} s left"
        print(f"epoch {log.epochs:2d}/{self.epochs}  {losses}  {times}", flush=True)

    def end(self, log: Any) -> None:
        """Say how the training ended, in the bar's place or on a line."""
        n, time_taken = log.epochs, f"{log.seconds:.0f} s"
        if log.interrupted:
            text = f"Interrupted after {n} whole epochs and {time_taken}: the model keeps the weights it had reached."
        else:
            loss = log.validation["loss"][-1]
            text = f"{n} epoch{'s'[: n - 1]} in {time_taken}. Validation loss {loss:.2f} nats per image."
        if self.live:
            self.bar.update(HTML(text))
        else:
            print(text, flush=True)
