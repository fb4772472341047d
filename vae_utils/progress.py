"""Progress of a training: a bar and a picture, replaced in place, in a notebook; a line per epoch elsewhere."""

import time
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import HTML, Image, display

from vae_utils import plots


def choose_progress(model: Any, epochs: int, images: np.ndarray, live: bool | None) -> Any:
    """The display for a training of `epochs` epochs; `images` are the ones whose reconstructions it shows.

    `live` asks for the notebook's display (True) or lines (False); None takes what fits the place where this runs.
    """
    in_notebook = type(get_ipython()).__name__ == "ZMQInteractiveShell"
    return NotebookProgress(model, epochs, images) if live or (live is None and in_notebook) else LineProgress(epochs)


class LineProgress:
    """One line per epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def show_step(self, log: Any, position: float) -> None:
        """Nothing within an epoch."""

    def show_epoch(self, log: Any) -> None:
        """Print the losses of the last epoch."""
        print(describe_epoch(log, self.epochs), flush=True)

    def end(self, log: Any) -> None:
        """Print how the training ended."""
        print(describe_end(log), flush=True)


class NotebookProgress:
    """A bar with the time left, and loss curves above a few reconstructions."""

    def __init__(self, model: Any, epochs: int, images: np.ndarray) -> None:
        self.model, self.epochs, self.images = model, epochs, images
        self.bar, self.picture = (display(HTML(text), display_id=True) for text in ("Starting …", ""))
        self.drawn = time.perf_counter()

    def show_step(self, log: Any, position: float) -> None:
        """Move the bar, at most four times a second; `position` is in epochs."""
        if time.perf_counter() - self.drawn < 0.25:
            return
        self.drawn = time.perf_counter()
        left = log.seconds / position * (self.epochs - position)
        loss = f", training loss {log.step_loss[-1]:.1f} nats" if log.step_loss else ""
        text = f"epoch {min(int(position) + 1, self.epochs)} of {self.epochs}, about {left:.0f} s left{loss}"
        self.bar.update(HTML(f'<progress value="{position / self.epochs:.3f}" max="1"></progress> {text}'))

    def show_epoch(self, log: Any) -> None:
        """Draw the curves and the reconstructions again."""
        figure, _ = plots.training_progress(log, self.images, self.model.reconstruct(self.images))
        alt = f"Loss curves after {log.epochs} epochs; below, {len(self.images)} images and their reconstructions."
        self.picture.update(Image(plots.to_png(figure), format="png", alt=alt))

    def end(self, log: Any) -> None:
        """Put how the training ended in the bar's place."""
        self.bar.update(HTML(describe_end(log)))


def describe_epoch(log: Any, epochs: int) -> str:
    """The last finished epoch in one line: losses in nats per image, seconds, time left."""
    train_loss, validation = log.train["loss"][-1], {name: values[-1] for name, values in log.validation.items()}
    terms = " = {reconstruction_loss:.2f} reconstruction + {kl_loss:.2f} KL (before beta)"
    terms = terms if "kl_loss" in validation else ""
    left = log.seconds / log.epochs * (epochs - log.epochs)
    return (
        f"epoch {log.epochs:2d}/{epochs}  train {train_loss:.2f}  validation {validation['loss']:.2f}"
        f"{terms.format(**validation)}  {log.epoch_seconds[-1]:.1f} s, {left:.0f} s left"
    )


def describe_end(log: Any) -> str:
    """How a training ended, in one sentence."""
    if log.interrupted:
        return (
            f"Interrupted after {log.epochs} whole epochs and {log.seconds:.0f} s: "
            "the model keeps the weights it had reached."
        )
    n, loss = log.epochs, log.validation["loss"][-1]
    return f"{n} epoch{'s'[: n - 1]} in {log.seconds:.0f} s. Validation loss {loss:.2f} nats per image."
