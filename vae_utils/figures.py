"""Builds everything under `Images/`, and the README's numbers, from the shipped weights: `python3 run.py images`.

The same digits, in the same order, with the same noise, in every folder; the same files on every run.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

from vae_utils import data, metrics, models, plots, pretrained

ROOT = Path(__file__).parent.parent
IMAGES_DIR = ROOT / "Images"
README = ROOT / "README.md"
SPEED_RECORD = ROOT / "benchmarks" / "training_speed.json"
SLIDER_RECORD = ROOT / "benchmarks" / "slider_speed.json"
GALLERY_RECORD = ROOT / "benchmarks" / "gallery.json"
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


def gif_palette() -> Image.Image:
    """Greys, and every class colour in six strengths on white: one palette for all frames of all GIFs."""
    greys = np.linspace(0, 255, 64)[:, np.newaxis].repeat(3, axis=1)
    hues = np.array([to_rgb(colour) for colour in plots.CLASS_COLOURS]) * 255
    tints = np.concatenate([255 + strength * (hues - 255) for strength in np.linspace(1 / 6, 1, 6)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, tints]).round().astype(np.uint8).tobytes())
    return palette


def to_gif(frames: list[np.ndarray], milliseconds: int | list[int] = FRAME_MS) -> bytes:
    """RGB frames `(height, width, 3) uint8` as an endless GIF; milliseconds for all frames or for each."""
    palette = gif_palette()
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": pictures[1:], "duration": milliseconds, "loop": 0, "optimize": False}
    pictures[0].save(buffer, "GIF", **options)
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


def hero_gif(frames: int = 120) -> bytes:
    """A walk through the latent plane, class by class, beside the digit it decodes to."""
    vae = pretrained.load_pretrained(2)
    (_, _), (x_test, y_test) = data.load_mnist()
    z_mean = vae.encode(x_test[:5000])[0]
    medians = np.array([np.median(z_mean[y_test[:5000] == c], axis=0) for c in range(10)])
    path = closed_path(medians, frames)
    digits = vae.decode(path)[..., 0]

    figure, (plane, picture) = plt.subplots(1, 2, figsize=(9, 4.6), dpi=80)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.11, top=0.92, wspace=0.04)
    plots.scatter_classes(plane, z_mean, y_test[:5000], size=2)
    plane.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xlabel="z[0]", ylabel="z[1]")
    plane.set_title("a walk through the latent plane …", fontsize=13)
    (trail,) = plane.plot([], [], color="black", linewidth=2)
    (here,) = plane.plot(
        [], [], "o", color="black", markersize=12, markeredgecolor="white", markeredgewidth=2, zorder=20
    )
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


def encoded_layouts(shown: int = 1500) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The codes of test digits laid out on a plane, for every latent size: neighbours stay neighbours.

    Two dimensions are their own map. More are laid out by t-SNE (van der Maaten and Hinton, 2008), started from
    the layout of the size before and turned to fit it, so that a digit can be followed.

    Returns:
        latent size -> `(shown, 2)`, centred and scaled alike, and the labels `(shown,)`.
    """
    (_, _), (x_test, y_test) = data.load_mnist()
    layouts: dict[int, np.ndarray] = {}
    for latent_dim in pretrained.pretrained_sizes():
        layout = pretrained.load_pretrained(latent_dim).encode(x_test[:shown])[0]
        if layouts:
            before = list(layouts.values())[-1]
            layout = TSNE(init=before * 1e-2, random_state=SEED).fit_transform(layout)
            layout = layout - layout.mean(axis=0)
            layout = layout @ orthogonal_procrustes(layout, before)[0]
        layout = layout - layout.mean(axis=0)
        layouts[latent_dim] = (layout / np.quantile(np.abs(layout), 0.999)).clip(-1, 1)  # a few strays stay at the edge
    return layouts, y_test[:shown]


def neighbour_accuracy(latent_dim: int) -> float:
    """Share of test digits whose five nearest training codes (of 10,000) vote for the right class."""
    vae = pretrained.load_pretrained(latent_dim)
    (x_train, y_train), (x_test, y_test) = data.load_mnist()
    classifier = KNeighborsClassifier(5).fit(vae.encode(x_train[:10_000])[0], y_train[:10_000])
    return float(classifier.score(vae.encode(x_test)[0], y_test))


def encoded_gif(moving_frames: int = 10) -> bytes:
    """The encoded test set as the latent grows from 2 to 10: one map per size, gliding into the next."""
    layouts, y = encoded_layouts()
    sizes = list(layouts)
    accuracies = {latent_dim: neighbour_accuracy(latent_dim) for latent_dim in sizes}
    ease = (1 - np.cos(np.linspace(0, np.pi, moving_frames + 1)[:-1])) / 2
    frames, milliseconds = [], []
    for latent_dim, following in zip(sizes, sizes[1:] + sizes[:1], strict=True):
        for share in ease:
            layout = (1 - share) * layouts[latent_dim] + share * layouts[following]
            nearer = latent_dim if share < 0.5 else following
            frames.append(encoded_frame(layout, y, nearer, accuracies[nearer], named=share == 0))
            milliseconds.append(1400 if share == 0 else 60)
    return to_gif(frames, milliseconds)


def encoded_frame(layout: np.ndarray, y: np.ndarray, latent_dim: int, accuracy: float, named: bool) -> np.ndarray:
    """One picture of `encoded_gif`, `(height, width, 3) uint8`; classes are named where the map rests."""
    figure, ax = plt.subplots(figsize=(6, 6.6), dpi=80)
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.88)
    plots.scatter_classes(ax, layout, y, size=9, named=named)
    ax.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xticks=[], yticks=[])
    how = "the plane itself" if latent_dim == 2 else "laid out by t-SNE"
    ax.set_title(
        f"{latent_dim} latent dimensions ({how})\n{accuracy:.1%} of digits named rightly by their neighbours",
        fontsize=13,
    )
    frame = drawn(figure)
    plt.close(figure)
    return frame


def all_files() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Path under `Images/` and builder of every picture."""
    yield "main_gif.gif", hero_gif
    yield "generated_number.gif", generated_gif
    yield "Encoded_dimension.gif", encoded_gif
    for latent_dim in pretrained.pretrained_sizes():
        yield from size_files(latent_dim)


def gallery_numbers(latent_dim: int) -> dict[str, float]:
    """Mean PSNR over the 10,000 test digits, dB: of reconstructions, of noisy digits, of the noisy ones cleaned.

    Rounded to four decimals: those beyond depend on the machine.
    """
    vae = pretrained.load_pretrained(latent_dim)
    (_, _), (x_test, _) = data.load_mnist()
    noisy = data.add_gaussian_noise(x_test, NOISE_LEVEL, np.random.default_rng(SEED))
    pictures = {"prediction": reconstruct(vae, x_test), "noisy": noisy, "noise_removed": reconstruct(vae, noisy)}
    return {name: round(float(np.mean(metrics.psnr(x_test, picture))), 4) for name, picture in pictures.items()}


def readme_numbers() -> dict[str, str]:
    """The README's blocks of numbers, by the name of their marker, from the records of trainings and benchmarks."""
    return {"model": model_block(), "bench": f"{bench_block()}\n{slider_block()}", "gallery": gallery_block()}


def model_block() -> str:
    """Test losses by latent size."""
    records = [pretrained.pretrained_metrics(latent_dim) for latent_dim in pretrained.pretrained_sizes()]
    sizes = [record["parameters"] for record in records]
    rows = [
        f"After {records[0]['epochs']} epochs on {records[0]['train_images']:,} digits, with {min(sizes):,} to "
        f"{max(sizes):,} parameters, on the 10,000 test digits (nats per image):",
        "",
        "| latent dimensions | " + " | ".join(str(record["latent_dim"]) for record in records) + " |",
        "|---" * (len(records) + 1) + "|",
    ]
    columns = {
        "**test loss**": lambda record: f"**{record['test_loss']:.1f}**",
        "reconstruction": lambda record: f"{record['test_reconstruction_loss']:.1f}",
        "KL divergence": lambda record: f"{record['test_kl_loss']:.1f}",
        f"importance-weighted bound, K = {records[0]['importance_samples']}": lambda record: (
            f"{-record['importance_weighted_bound']:.1f}"
        ),
        "active dimensions": lambda record: str(record["active_units"]),
    }
    rows += [f"| {name} | " + " | ".join(map(cell, records)) + " |" for name, cell in columns.items()]
    runs = pretrained.sweep_records()
    by_size = [[run["test_loss"] for run in runs if run["latent_dim"] == record["latent_dim"]] for record in records]
    spread = " | ".join(f"{np.mean(losses):.1f} ± {np.std(losses, ddof=1):.1f}" for losses in by_size)
    rows.append(f"| test loss, mean ± standard deviation of {len(by_size[0])} seeds | {spread} |")
    rows += [
        "",
        f"Seed {records[0]['seed']} of each size ships with the package; all {len(runs)} runs are in "
        "[`vae_utils/assets/sweep.csv`](vae_utils/assets/sweep.csv), and notebook 05 reads them.",
    ]
    return "\n".join(rows)


def bench_block() -> str:
    """Speeds, as ratios within one run."""
    speed = json.loads(SPEED_RECORD.read_text(encoding="utf-8"))
    epochs = "1 epoch" if speed["our_epochs"] == 1 else f"{speed['our_epochs']} epochs"
    return (
        f"- `python3 run.py bench`: the recipe passes a test loss of {speed['target_loss']:.0f} nats in "
        f"{speed['our_seconds']:.0f} s ({epochs} in batches of {speed['our_batch_size']}, test loss "
        f"{speed['our_test_loss']:.2f}, building the graph included). The usual Keras example needs about "
        f"{speed['usual_epochs']} epochs for it; at the pace timed in the same run that is {speed['usual_seconds']} s, "
        f"**{speed['ratio']} times** as long. A training step through `fit` costs {speed['fit_over_bare_step']:.2f} "
        f"times a bare compiled step. ({speed['machine']}; {speed['versions']}.)"
    )


def slider_block() -> str:
    """How fast the sliders answer, by latent size."""
    record = json.loads(SLIDER_RECORD.read_text(encoding="utf-8"))
    parts = []
    for size, ways in record["milliseconds_per_tick"].items():
        browser = record["browser"][size]
        parts.append(
            f"with {size} dimensions a tick takes {ways['ours']['median']:.1f} ms (99th percentile "
            f"{ways['ours']['p99']:.1f} ms), **{ways['ratio']:.0f} times** less than `interact`, `predict` and a new "
            f"figure; in the browser {browser['latency_median']:.0f} ms pass from key to picture, and a "
            f"drag shows {browser['pictures_per_second']:.0f} pictures a second"
        )
    return f"- `python3 run.py bench sliders`: {'; '.join(parts)}. ({record['machine']}; {record['versions']}.)"


def gallery_block() -> str:
    """For every latent size its four pictures, with test loss and PSNR."""
    parts = []
    for name, numbers in json.loads(GALLERY_RECORD.read_text(encoding="utf-8")).items():
        record, folder = pretrained.pretrained_metrics(int(name)), f"Images/L{name}_E{pretrained.EPOCHS}"
        pictures = {
            "original": ("original_images", "Twenty test digits."),
            f"prediction ({numbers['prediction']:.1f} dB)": (
                "prediction_from_original_images",
                "Their reconstructions.",
            ),
            f"noisy ({numbers['noisy']:.1f} dB)": ("Noisy_images", "The same digits with noise."),
            f"noise removed ({numbers['noise_removed']:.1f} dB)": (
                "prediction_from_noisy_image",
                "What the VAE makes of the noisy digits.",
            ),
        }
        parts += [
            f"### {name} latent dimensions: test loss {record['test_loss']:.1f} nats",
            "",
            "| " + " | ".join(pictures) + " |",
            "|---" * len(pictures) + "|",
            "| " + " | ".join(f"![{alt}]({folder}/{file}.png)" for file, alt in pictures.values()) + " |",
            "",
        ]
    return "\n".join(parts[:-1])


def with_numbers(text: str) -> str:
    """The README's text with every block between its markers renewed."""
    for name, block in readme_numbers().items():
        begin, end = f"<!-- {name} numbers -->", f"<!-- end of {name} numbers -->"
        before, _, rest = text.partition(begin)
        _, marker, after = rest.partition(end)
        if not marker:
            raise ValueError(f"The README lacks the markers {begin} and {end}.")
        text = f"{before}{begin}\n{block}\n{end}{after}"
    return text


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
    numbers = {str(latent_dim): gallery_numbers(latent_dim) for latent_dim in pretrained.pretrained_sizes()}
    GALLERY_RECORD.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    README.write_text(with_numbers(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
