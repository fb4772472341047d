"""Builds everything under `Images/` and the README's numbers from the shipped models: `python3 run.py images`.

The same digits, in the same order, with the same noise, in every folder; the same files on every run.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.linalg import orthogonal_procrustes
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

from tools import setup_speed, slider_speed, training_speed
from vae_utils import data, metrics, plots, pretrained

ROOT = Path(__file__).parent.parent
IMAGES_DIR, README = ROOT / "Images", ROOT / "README.md"
GALLERY_RECORD = ROOT / "tools" / "gallery.json"
SHOWN = 20  # test digits per picture, two of each class
NOISE_LEVEL = 0.5
SEED = 0
FRAME_MS = 50
GIF_DPI = 80
# The pictures of a size, and what the README says of each to those who cannot see it.
PICTURES = {
    "original_images": "Twenty test digits, two of each class from 0 to 9.",
    "prediction_from_original_images": "Reconstructions of the twenty digits from {size} latent dimensions.",
    "Noisy_images": f"The twenty digits with Gaussian noise of level {NOISE_LEVEL}.",
    "prediction_from_noisy_image": "The twenty digits denoised with {size} latent dimensions.",
}

Builder = Callable[[], bytes]


def choose_digits() -> np.ndarray:
    """The first two test digits of each class, classes in order, `(20, 28, 28, 1) float32 in [0, 1]`."""
    (_, _), (x_test, y_test) = data.load_mnist()
    first, second = (np.array([np.flatnonzero(y_test == label)[i] for label in range(10)]) for i in (0, 1))
    return x_test[np.concatenate([first, second])]


def add_noise(x: np.ndarray) -> np.ndarray:
    """`x` with the noise of all pictures and numbers."""
    return data.add_gaussian_noise(x, NOISE_LEVEL, np.random.default_rng(SEED))


# --- pictures of one latent size ---------------------------------------------------------------------


@cache
def measure_gallery(latent_dim: int) -> dict[str, float]:
    """Mean PSNR against the 10,000 clean test digits, in dB.

    Of the VAE's reconstructions (`prediction`), of the noisy digits (`noisy`), of what the VAE itself makes of them
    (`vae_on_noisy`) and of what its second encoder makes of them (`denoised`). Rounded to four decimals: those beyond
    depend on the machine.
    """
    (_, _), (x_test, _) = data.load_mnist()
    vae, denoiser = pretrained.load_pretrained(latent_dim), pretrained.load_pretrained(latent_dim, denoising=True)
    noisy = add_noise(x_test)
    pictures = {
        "prediction": vae.reconstruct(x_test),
        "noisy": noisy,
        "vae_on_noisy": vae.reconstruct(noisy),
        "denoised": denoiser.reconstruct(noisy),
    }
    return {name: round(float(metrics.psnr(x_test, picture).mean()), 4) for name, picture in pictures.items()}


@cache
def make_rows(latent_dim: int) -> dict[str, tuple[np.ndarray, str]]:
    """The four rows of digits of one size: name of the file -> images and title."""
    x = choose_digits()
    noisy = add_noise(x)
    vae, denoiser = pretrained.load_pretrained(latent_dim), pretrained.load_pretrained(latent_dim, denoising=True)
    decibels = {name: f"({value:.1f} dB)" for name, value in measure_gallery(latent_dim).items()}
    return {
        "original_images": (x, "Test digits"),
        "prediction_from_original_images": (
            vae.reconstruct(x),
            f"Reconstructions from {latent_dim} latent dimensions {decibels['prediction']}",
        ),
        "Noisy_images": (noisy, f"The same digits with Gaussian noise of level {NOISE_LEVEL} {decibels['noisy']}"),
        "prediction_from_noisy_image": (
            denoiser.reconstruct(noisy),
            f"Denoised with {latent_dim} latent dimensions {decibels['denoised']}",
        ),
    }


def list_size_files(latent_dim: int) -> Iterator[tuple[str, Builder]]:
    """Path under `Images/` and builder of each picture of one latent size."""
    folder = name_folder(latent_dim)
    yield (
        f"{folder}/variational_encoder_L{latent_dim}_E_{pretrained.EPOCHS}.png",
        lambda: draw_architecture(pretrained.load_pretrained(latent_dim)),
    )
    for name in PICTURES:
        yield f"{folder}/{name}.png", lambda name=name: draw_row(*make_rows(latent_dim)[name])


def name_folder(latent_dim: int) -> str:
    """Where the pictures of a size are, under `Images/`."""
    return f"L{latent_dim}_E{pretrained.EPOCHS}"


def draw_row(x: np.ndarray, title: str) -> bytes:
    """Digits in one row, as PNG."""
    picture = plots.tile_images(x, len(x), gap=2)
    figure, (ax,) = plots.make_figure(title, (11, 0.42 + 10.8 * picture.shape[0] / picture.shape[1]))
    plots.show_picture(ax, picture)
    return plots.to_png(figure)


def draw_architecture(vae: Any) -> bytes:
    """The drawing of a VAE, every layer with its output shape, 1000 pixels high."""
    total = vae.encoder.count_params() + vae.decoder.count_params()
    columns = describe_network(vae.encoder, vae.decoder)
    figure, _ = plot_architecture(columns, f"A VAE of {vae.latent_dim} latent dimensions: {total:,} parameters")
    return plots.to_png(figure, dpi=round(1000 / figure.get_size_inches()[1]))


def describe_layers(model: Any) -> list[tuple[str, str, str]]:
    """`(what it is, output shape without the batch, parameters)` of every layer of a Keras model, as text.

    The model is a chain of layers up to its outputs, which stand side by side in the last entry.
    """
    rows = []
    for layer in model.layers:
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        details = [] if activation == "linear" else [activation]
        if hasattr(layer, "kernel_size"):
            details[:0] = ["×".join(map(str, layer.kernel_size)), f"stride {layer.strides[0]}"]
        what = f"{layer.name}: {', '.join([type(layer).__name__.removesuffix('Layer'), *details])}"
        parameters = f"{layer.count_params():,} parameters" if layer.count_params() else ""
        rows.append((what, " × ".join(map(str, layer.output.shape[1:])), parameters))
    *chain, last = rows[: 1 - len(model.outputs) or None]
    heads = zip(last, *rows[len(chain) + 1 :], strict=True)
    return [*chain, tuple("  |  ".join(filter(None, parts)) for parts in heads)]


def describe_network(encoder: Any, decoder: Any) -> dict[str, list[tuple[str, str, str]]]:
    """The columns of a VAE's drawing by `plot_architecture`: the encoder with the sampler, and the decoder."""
    sampler = ("Sampler: one draw from the approximate posterior", str(decoder.inputs[0].shape[-1]), "")
    return {"Encoder": [*describe_layers(encoder), sampler], "Decoder": describe_layers(decoder)}


def plot_architecture(columns: Mapping[str, Sequence[tuple[str, str, str]]], title: str) -> tuple[Figure, Axes]:
    """A drawing of a network: name of a part -> its layers in order, as `describe_layers` gives them.

    Every part is a column of boxes; arrows lead from box to box and from the end of a part to the next.
    """
    depth, width, pitch, half, before = max(map(len, columns.values())), 4.6, 5.6, 0.31, 0
    figure, (ax,) = plots.make_figure(title, (pitch * len(columns), 1.2 + 0.82 * depth))
    line = {"color": "#444444", "linewidth": 2}
    arrow = {"arrowstyle": "-|>", "mutation_scale": 16, "shrinkA": 0, "shrinkB": 0, **line}
    for column, (name, boxes) in enumerate(columns.items()):
        left, middle, colour = column * pitch, column * pitch + width / 2, plots.CLASS_COLOURS[1:8:2][column % 4]
        ax.text(middle, 1, name, fontsize=17, weight="bold", ha="center", va="center")
        for row, (what, shape, parameters) in enumerate(boxes):
            style = {"facecolor": (*to_rgb(colour), 0.25), "edgecolor": colour, "linewidth": 2}
            ax.add_patch(FancyBboxPatch((left, -row - half), width, 2 * half, "round,pad=0.08", **style))
            size = 13.5 * min(1, 36 / len(what))
            ax.text(left + 0.1, 0.15 - row, what, fontsize=size, weight="bold", va="center")
            ax.text(left + 0.1, -0.18 - row, shape, fontsize=12.5, va="center", family="monospace")
            ax.text(left + width - 0.1, -0.18 - row, parameters, fontsize=11, va="center", ha="right", color="#444444")
            if row:
                ax.annotate("", (middle, 0.08 - row + half), (middle, 0.92 - row - half), arrowprops=arrow)
        if column:  # from the last box of the part before, between the columns, to the first box of this one
            gutter = left - (pitch - width) / 2
            ax.plot([left - pitch + width + 0.08, gutter, gutter], [1 - before, 1 - before, 0], **line)
            ax.annotate("", (left - 0.08, 0), (gutter, 0), arrowprops=arrow)
        before = len(boxes)
    ax.set(xlim=(-0.3, pitch * len(columns) - 0.7), ylim=(0.4 - depth, 1.4))
    ax.axis("off")
    return figure, ax


def draw_story() -> bytes:
    """Noisy digits, what the largest VAE makes of them, and what it makes of them with its second encoder."""
    latent_dim = max(pretrained.SIZES)
    noisy, decibels = add_noise(choose_digits())[:10], measure_gallery(latent_dim)
    vae, denoiser = pretrained.load_pretrained(latent_dim), pretrained.load_pretrained(latent_dim, denoising=True)
    rows = {
        f"noisy\n({decibels['noisy']:.1f} dB)": noisy,
        f"encoder trained\non clean digits\n({decibels['vae_on_noisy']:.1f} dB)": vae.reconstruct(noisy),
        f"encoder trained\non noisy digits\n({decibels['denoised']:.1f} dB)": denoiser.reconstruct(noisy),
    }
    title = f"Two encoders, one decoder, {latent_dim} latent dimensions: the second encoder has learned to remove noise"
    return plots.to_png(plots.image_rows(rows, title)[0])


# --- animations --------------------------------------------------------------------------------------


def make_palette() -> Image.Image:
    """Greys, and every class colour in six strengths on white: one palette for all frames of all GIFs."""
    greys = np.linspace(0, 255, 64)[:, np.newaxis].repeat(3, axis=1)
    hues = np.array([to_rgb(colour) for colour in plots.class_colours(10)]) * 255
    tints = np.concatenate([255 + strength * (hues - 255) for strength in np.linspace(1 / 6, 1, 6)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, tints]).round().astype(np.uint8).tobytes())
    return palette


def to_gif(frames: list[np.ndarray], milliseconds: int | list[int] = FRAME_MS) -> bytes:
    """RGB frames `(height, width, 3) uint8` as an endless GIF; milliseconds for all frames or for each."""
    palette = make_palette()
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": pictures[1:], "duration": milliseconds, "loop": 0, "optimize": False}
    pictures[0].save(buffer, "GIF", **options)
    return buffer.getvalue()


def grab_frame(figure: Figure) -> np.ndarray:
    """A figure as `(height, width, 3) uint8`."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def close_path(points: np.ndarray, frames: int) -> np.ndarray:
    """A smooth closed curve through `points` `(n, 2)`, at even steps of its parameter: `(frames, 2)`."""
    knots = np.concatenate([points, points[:1]])
    steps = np.linspace(0, len(points), frames, endpoint=False)
    return CubicSpline(np.arange(len(knots)), knots, bc_type="periodic")(steps)


def animate_plane(frames: int = 120) -> bytes:
    """A path through the latent plane, class by class, beside the digit that the decoder makes of each point."""
    vae = pretrained.load_pretrained(2)
    (_, _), (x_test, y_test) = data.load_mnist()
    z_mean, y = vae.encode(x_test[:5000])[0], y_test[:5000]
    path = close_path(np.array([np.median(z_mean[y == label], axis=0) for label in range(10)]), frames)
    digits = vae.decode(path)[..., 0]

    figure = plt.figure(figsize=(9, 4.6), dpi=GIF_DPI)
    plane, picture = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.11, top=0.92, wspace=0.04)
    plots.scatter_classes(plane, z_mean, y, size=2)
    plane.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xlabel="z[0]", ylabel="z[1]")
    plane.set_title("A path through the latent plane", fontsize=13)
    (trail,) = plane.plot([], [], color="black", linewidth=2)
    marker = {"color": "black", "markersize": 12, "markeredgecolor": "white", "markeredgewidth": 2, "zorder": 20}
    (here,) = plane.plot([], [], "o", **marker)
    picture.set_title("The decoder's image at that point", fontsize=13)
    shown = picture.imshow(digits[0], cmap="gray", vmin=0, vmax=1)
    picture.axis("off")
    sheets = []
    for index in range(frames):
        trail.set_data(*path[np.arange(index - 25, index + 1) % frames].T)
        here.set_data(*path[[index]].T)
        shown.set_data(digits[index])
        sheets.append(grab_frame(figure))
    plt.close(figure)
    return to_gif(sheets)


def animate_samples(frames: int = 60, rows: int = 5, columns: int = 10) -> bytes:
    """Digits from the prior; each code moves on an ellipse on which every point is a draw from the prior."""
    latent_dim = max(pretrained.SIZES)
    vae = pretrained.load_pretrained(latent_dim)
    start, aside = np.random.default_rng(SEED).standard_normal((2, rows * columns, latent_dim))
    sheets = []
    for angle in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        digits = vae.decode(np.cos(angle) * start + np.sin(angle) * aside)
        sheet = 1 - plots.tile_images(1 - digits, columns, gap=1)
        picture = Image.fromarray((255 * sheet).round().astype(np.uint8)).convert("RGB")
        sheets.append(np.asarray(picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)))
    return to_gif(sheets, 2 * FRAME_MS)


def lay_out_codes(shown: int = 1500) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The codes of test digits on a plane, for every latent size: neighbours stay neighbours.

    The plane of two dimensions is shown as it is. More are laid out by t-SNE (van der Maaten and Hinton, 2008),
    started from the layout of the size before and turned to fit it, so that a digit can be followed.

    Returns:
        latent size -> `(shown, 2)`, centred and scaled alike, and the labels `(shown,)`.
    """
    (_, _), (x_test, y_test) = data.load_mnist()
    layouts: dict[int, np.ndarray] = {}
    for latent_dim in pretrained.SIZES:
        layout = pretrained.load_pretrained(latent_dim).encode(x_test[:shown])[0]
        if layouts:
            before = list(layouts.values())[-1]
            layout = TSNE(init=before * 1e-2, random_state=SEED).fit_transform(layout)
            layout = layout - layout.mean(axis=0)
            layout = layout @ orthogonal_procrustes(layout, before)[0]
        layout = layout - layout.mean(axis=0)
        layouts[latent_dim] = (layout / np.quantile(np.abs(layout), 0.999)).clip(-1, 1)  # a few strays stay at the edge
    return layouts, y_test[:shown]


def measure_neighbours(latent_dim: int) -> float:
    """5-nearest-neighbour accuracy: the share of test codes whose five nearest of 10,000 training codes vote right."""
    vae = pretrained.load_pretrained(latent_dim)
    (x_train, y_train), (x_test, y_test) = data.load_mnist()
    classifier = KNeighborsClassifier(5).fit(vae.encode(x_train[:10_000])[0], y_train[:10_000])
    return float(classifier.score(vae.encode(x_test)[0], y_test))


def title_codes(latent_dim: int, accuracy: float) -> str:
    """What `animate_codes` says while the codes of one size rest."""
    layout = "" if latent_dim == 2 else ", laid out by t-SNE"
    return f"{latent_dim} latent dimensions{layout}\n5-nearest-neighbour accuracy of the codes: {accuracy:.1%}"


def animate_codes(moving_frames: int = 10) -> bytes:
    """The encoded test digits as the latent space grows from 2 to 10 dimensions, each layout moving into the next."""
    layouts, y = lay_out_codes()
    sizes = list(layouts)
    ease = (1 - np.cos(np.linspace(0, np.pi, moving_frames + 1)[1:-1])) / 2
    frames, milliseconds = [], []
    for latent_dim, following in zip(sizes, sizes[1:] + sizes[:1], strict=True):
        frames.append(draw_codes(layouts[latent_dim], y, title_codes(latent_dim, measure_neighbours(latent_dim))))
        milliseconds.append(1400)
        for share in ease:
            layout = (1 - share) * layouts[latent_dim] + share * layouts[following]
            frames.append(draw_codes(layout, y, f"from {latent_dim} to {following} latent dimensions\n"))
            milliseconds.append(60)
    return to_gif(frames, milliseconds)


def draw_codes(layout: np.ndarray, y: np.ndarray, title: str) -> np.ndarray:
    """One frame of `animate_codes`, `(height, width, 3) uint8`."""
    figure = plt.figure(figsize=(6, 6.6), dpi=GIF_DPI)
    ax = figure.add_axes((0.02, 0.02, 0.96, 0.86))
    plots.scatter_classes(ax, layout, y, size=9)
    ax.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xticks=[], yticks=[])
    ax.set_title(title, fontsize=13)
    frame = grab_frame(figure)
    plt.close(figure)
    return frame


def list_files() -> Iterator[tuple[str, Builder]]:
    """Path under `Images/` and builder of every picture."""
    yield "denoising_story.png", draw_story
    yield "main_gif.gif", animate_plane
    yield "generated_number.gif", animate_samples
    yield "Encoded_dimension.gif", animate_codes
    for latent_dim in pretrained.SIZES:
        yield from list_size_files(latent_dim)


# --- the README's numbers ----------------------------------------------------------------------------


def write_blocks() -> dict[str, str]:
    """The README's blocks of numbers, by the name of their marker, from the records of trainings and benchmarks."""
    benchmarks = {
        training_speed.RECORD_PATH: describe_training_speed,
        slider_speed.RECORD_PATH: describe_slider_speed,
        setup_speed.RECORD_PATH: setup_speed.setup_block,
    }
    lines = [describe(read(path)) for path, describe in benchmarks.items() if path.is_file()]
    return {"model": describe_models(), "bench": "\n".join(lines), "gallery": describe_gallery(read(GALLERY_RECORD))}


def read(path: Path) -> dict[str, Any]:
    """A record."""
    return json.loads(path.read_text(encoding="utf-8"))


def describe_models() -> str:
    """Test losses by latent size."""
    records = [pretrained.pretrained_record(latent_dim) for latent_dim in pretrained.SIZES]
    parameters = [record["parameters"] for record in records]
    rows = [
        f"After {records[0]['epochs']} epochs on {records[0]['train_images']:,} digits, with {min(parameters):,} to "
        f"{max(parameters):,} parameters, on the 10,000 test digits (nats per image):",
        "",
        "| latent dimensions | " + " | ".join(str(record["latent_dim"]) for record in records) + " |",
        "|---" * (len(records) + 1) + "|",
    ]
    columns = {
        "**test loss**": lambda record: f"**{record['test_loss']:.1f}**",
        "reconstruction loss": lambda record: f"{record['test_reconstruction_loss']:.1f}",
        "KL divergence": lambda record: f"{record['test_kl_loss']:.1f}",
        f"importance-weighted bound, K = {records[0]['importance_samples']}": lambda record: (
            f"{-record['importance_weighted_bound']:.1f}"
        ),
        "active dimensions": lambda record: str(record["active_units"]),
    }
    rows += [f"| {name} | " + " | ".join(map(cell, records)) + " |" for name, cell in columns.items()]
    runs = pretrained.load_sweep_table()
    by_size = [[run["test_loss"] for run in runs if run["latent_dim"] == record["latent_dim"]] for record in records]
    if min(map(len, by_size)) > 1:
        spread = " | ".join(f"{np.mean(losses):.1f} ± {np.std(losses, ddof=1):.1f}" for losses in by_size)
        rows.append(f"| test loss, mean ± standard deviation of {len(by_size[0])} seeds | {spread} |")
    rows += [
        "",
        f"Seed {records[0]['seed']} of each size ships with the package; all {len(runs)} runs are in "
        "[`vae_utils/assets/sweep.csv`](vae_utils/assets/sweep.csv), and notebook 05 reads them.",
    ]
    return "\n".join(rows)


def describe_training_speed(speed: dict[str, Any]) -> str:
    """Our seconds beside those of the usual example, and how both are known."""
    how = "trained and measured epoch by epoch in the same run"
    if speed["usual_pace"]:
        how = f"losses of an earlier full run, at the pace of {len(speed['usual_pace'])} epochs timed in this one"
    return " ".join(
        [
            f"- `python3 run.py bench`: the usual Keras example, with its network and settings on the 60,000 training "
            f"digits, takes {speed['usual_epochs']} epochs and {speed['usual_seconds']:.0f} s to its own final test "
            f"loss of {speed['target_loss']:.1f} nats ({how}).",
            f"The recipe of this course passes that loss in {speed['our_seconds']:.1f} s (one pass over "
            f"{speed['our_digits']:,} of these digits in batches of {speed['ours'][0]['recipe']['batch_size']}, "
            f"test loss {speed['our_loss']:.1f}), **{speed['ratio']:.0f} times** faster; ours includes building the "
            "graph, theirs does not.",
            "Both are test losses, on the 10,000 digits that neither was trained on; the loss printed on the "
            "example's page is the training loss, on all 70,000 digits.",
            "[`tools/training_speed.json`](tools/training_speed.json) holds both curves.",
            f"A training step through `fit` costs {speed['fit_over_bare_step']:.2f} times a bare compiled step.",
            f"({speed['machine']}; {speed['versions']}.)",
        ]
    )


def describe_slider_speed(record: dict[str, Any]) -> str:
    """How fast the sliders answer, by latent size."""
    parts = []
    for size, ways in record["milliseconds_per_tick"].items():
        browser = record["browser"][size]
        parts.append(
            f"with {size} dimensions a change of a slider takes {ways['ours']['median']:.1f} ms (99th percentile "
            f"{ways['ours']['p99']:.1f} ms), **{ways['ratio']:.0f} times** less than `interact`, `predict` and a new "
            f"figure; in the browser {browser['latency_median']:.0f} ms pass from key to picture, and a "
            f"drag shows {browser['pictures_per_second']:.0f} pictures a second"
        )
    for size, explorer in record["explorer"].items():
        one, idle, busy = (explorer[key] for key in ("slider_milliseconds", "drag", "drag_while_training"))
        parts.append(
            f"the explorer with {size} dimensions decodes and draws in {one['median']:.1f} ms (99th percentile "
            f"{one['p99']:.1f}); moved by the page once a frame, its map shows "
            f"{idle['pictures_per_second']:.0f} pictures a second, {busy['pictures_per_second']:.0f} while the kernel "
            "trains"
        )
    return f"- `python3 run.py bench sliders`: {'; '.join(parts)}. ({record['machine']}; {record['versions']}.)"


def describe_gallery(gallery: dict[str, dict[str, float]]) -> str:
    """For every latent size its four rows of digits, one above the other, under test loss and PSNR."""
    parts = []
    for size, decibels in gallery.items():
        loss, folder = pretrained.pretrained_record(int(size))["test_loss"], f"Images/{name_folder(int(size))}"
        parts += [
            f"### {size} latent dimensions",
            "",
            f"Test loss {loss:.1f} nats. PSNR: reconstructions {decibels['prediction']:.1f} dB, noisy digits "
            f"{decibels['noisy']:.1f} dB, denoised {decibels['denoised']:.1f} dB.",
            "",
            " \\\n".join(f"![{alt.format(size=size)}]({folder}/{file}.png)" for file, alt in PICTURES.items()),
            "",
        ]
    return "\n".join(parts[:-1])


def renew_numbers(text: str) -> str:
    """The README's text with every block between its markers renewed."""
    for name, block in write_blocks().items():
        begin, end = f"<!-- {name} numbers -->", f"<!-- end of {name} numbers -->"
        before, _, rest = text.partition(begin)
        _, marker, after = rest.partition(end)
        if not marker:
            raise ValueError(f"The README lacks the markers {begin} and {end}.")
        text = f"{before}{begin}\n{block}\n{end}{after}"
    return text


def main(arguments: list[str]) -> int:
    """The command line of `python3 run.py images`."""
    parser = argparse.ArgumentParser(prog="run.py images", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGES_DIR, help="folder to build into (Images/)")
    options = parser.parse_args(arguments)
    plt.switch_backend("agg")
    for number, (name, build) in enumerate(list_files(), 1):
        target = options.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = build()
        unfinished = target.with_name(target.name + ".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(target)
        print(f"{number:3d}  {name}  {len(content) // 1024} KiB", flush=True)
    numbers = {str(latent_dim): measure_gallery(latent_dim) for latent_dim in pretrained.SIZES}
    GALLERY_RECORD.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    README.write_text(renew_numbers(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
