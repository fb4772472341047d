"""Builds everything under `Images/` from the shipped weights: `python3 run.py images`.

The same digits, in the same order, with the same noise, in every folder; the same files on every run.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy.interpolate import CubicSpline

from vae_utils import data, models, plots, pretrained

IMAGES_DIR = Path(__file__).parent.parent / "Images"
SHOWN = 20  # test digits per picture, two of each class
NOISE_LEVEL = 0.5
SEED = 0
FRAME_MS = 50


def shown_digits() -> np.ndarray:
    """The first two test digits of each class, classes in order, `(20, 28, 28, 1) float32 in [0, 1]`."""
    (_, _), (x_test, y_test) = data.load_mnist()
    first, second = (np.array([np.flatnonzero(y_test == c)[i] for c in range(10)]) for i in (0, 1))
    return x_test[np.concatenate([first, second])]


def digit_sheet(x: np.ndarray, title: str) -> bytes:
    """Ten columns of digits, one per class, as PNG."""
    figure, _ = plots.image_sheet(x, title, columns=10)
    return plots.to_png(figure, dpi=100)


def size_files(latent_dim: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Path under `Images/` and builder of each picture of one latent size."""
    vae = pretrained.load_pretrained(latent_dim)
    x = shown_digits()
    noisy = data.add_gaussian_noise(x, NOISE_LEVEL, np.random.default_rng(SEED))
    sheets = {
        "original_images": (x, "Test digits"),
        "prediction_from_original_images": (reconstruct(vae, x), f"What {latent_dim} numbers keep of them"),
        "Noisy_images": (noisy, f"The same digits with noise of level {NOISE_LEVEL}"),
        "prediction_from_noisy_image": (reconstruct(vae, noisy), f"What the VAE with {latent_dim} makes of the noisy"),
    }
    folder = f"L{latent_dim}_E{pretrained.EPOCHS}"
    yield f"{folder}/variational_encoder_L{latent_dim}_E_{pretrained.EPOCHS}.png", lambda: architecture(vae)
    for name, (images, title) in sheets.items():
        yield f"{folder}/{name}.png", lambda images=images, title=title: digit_sheet(images, title)


def reconstruct(vae: Any, x: np.ndarray) -> np.ndarray:
    """Decoded from `z_mean`."""
    return vae.decode(vae.encode(x)[0])


def architecture(vae: Any) -> bytes:
    """The drawing of a VAE, every layer with its output shape, 1000 pixels high."""
    total = vae.encoder.count_params() + vae.decoder.count_params()
    figure, _ = plots.architecture(
        models.network_table(vae.encoder, vae.decoder),
        f"A VAE of {vae.latent_dim} latent dimensions: {total:,} parameters",
    )
    return plots.to_png(figure, dpi=round(1000 / figure.get_size_inches()[1]))


def to_gif(frames: list[np.ndarray], milliseconds: int = FRAME_MS) -> bytes:
    """RGB frames `(height, width, 3) uint8` as an endless GIF with one palette."""
    palette = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 8)])).quantize(128)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False
    )
    return buffer.getvalue()


def drawn(figure: Any) -> np.ndarray:
    """A figure as `(height, width, 3) uint8`."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def closed_path(points: np.ndarray, frames: int) -> np.ndarray:
    """A smooth closed curve through `points` `(n, 2)`, at even steps of its parameter: `(frames, 2)`."""
    knots = np.concatenate([points, points[:1]])
    steps = np.linspace(0, len(points), frames, endpoint=False)
    return CubicSpline(np.arange(len(knots)), knots, bc_type="periodic")(steps)


def hero_gif(frames: int = 150) -> bytes:
    """A walk through the latent plane, class by class, beside the digit it decodes to."""
    vae = pretrained.load_pretrained(2)
    (_, _), (x_test, y_test) = data.load_mnist()
    z_mean = vae.encode(x_test[:5000])[0]
    medians = np.array([np.median(z_mean[y_test[:5000] == c], axis=0) for c in range(10)])
    path = closed_path(medians, frames)
    digits = vae.decode(path)[..., 0]

    figure, (plane, picture) = plt.subplots(1, 2, figsize=(9, 4.7), dpi=90, layout="constrained")
    plots.scatter_classes(plane, z_mean, y_test[:5000], size=2)
    plane.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xlabel="z[0]", ylabel="z[1]")
    plane.set_title("a walk through the latent plane …", fontsize=13)
    (trail,) = plane.plot([], [], color="black", linewidth=2)
    (here,) = plane.plot([], [], "o", color="black", markersize=11, markeredgecolor="white", markeredgewidth=2)
    picture.set_title("… and what the decoder paints there", fontsize=13)
    shown = picture.imshow(digits[0], cmap="gray", vmin=0, vmax=1)
    picture.axis("off")
    sheets = []
    for index in range(frames):
        behind = path[np.arange(index - 25, index + 1) % frames]
        trail.set_data(*behind.T)
        here.set_data(*path[[index]].T)
        shown.set_data(digits[index])
        sheets.append(drawn(figure))
    plt.close(figure)
    return to_gif(sheets)


def generated_gif(frames: int = 60, rows: int = 5, columns: int = 10) -> bytes:
    """Digits from the prior, every one drifting on a circle that keeps it a draw from the prior."""
    latent_dim = max(pretrained.pretrained_sizes())
    vae = pretrained.load_pretrained(latent_dim)
    rng = np.random.default_rng(SEED)
    start, aside = rng.standard_normal((2, rows * columns, latent_dim))
    sheets = []
    for angle in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        digits = vae.decode(np.cos(angle) * start + np.sin(angle) * aside)
        sheet = 1 - plots.tile_images(1 - digits, columns, gap=1)
        picture = Image.fromarray((255 * sheet).round().astype(np.uint8)).convert("RGB")
        sheets.append(np.asarray(picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)))
    return to_gif(sheets, 2 * FRAME_MS)


def all_files() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Path under `Images/` and builder of every picture."""
    yield "main_gif.gif", hero_gif
    yield "generated_number.gif", generated_gif
    for latent_dim in pretrained.pretrained_sizes():
        yield from size_files(latent_dim)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py images", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGES_DIR, help="folder to build into (Images/)")
    options = parser.parse_args(arguments)
    for number, (name, build) in enumerate(all_files(), 1):
        target = options.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = build()
        unfinished = target.with_name(target.name + ".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(target)
        print(f"{number:3d}  {name}  {len(content) // 1024} KiB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
