"""Arrays become PNG bytes, and a user's function is called for images. No figure is drawn while a slider moves."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture as PNG of its own size, which the page enlarges; written for speed, not for size.

    `picture` is `(height, width)` or `(height, width, 1 or 3)`, float in [0, 1], clipped, or uint8.
    """
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_callable(function: Any, name: str) -> None:
    """ValueError unless `function` can be called."""
    if not callable(function):
        raise ValueError(f"{name} must be a function that returns images, not {type(function).__name__}.")


def decode_images(decode: Callable[[np.ndarray], Any], batch: np.ndarray, name: str = "decode") -> np.ndarray:
    """`decode(batch)`, `(n, height, width, 1 or 3)`, clipped to [0, 1]; `batch` `(n, …)` is given as float32.

    What `decode` raises goes through. ValueError, which calls it `name`: another shape, NaN or infinite pixels.
    """
    images = np.asarray(decode(np.asarray(batch, np.float32)))
    if images.ndim != 4 or len(images) != len(batch) or images.shape[-1] not in (1, 3):
        wanted = f"({len(batch)}, height, width, 1 or 3) for an input of shape {np.shape(batch)}"
        raise ValueError(f"{name} must return {wanted}, but returns {images.shape}.")
    if not np.isfinite(images).all():
        raise ValueError(f"{name} returns NaN or infinite pixels.")
    return np.clip(images, 0, 1)
