"""Instant feedback for the labs: what a student's function returns beside what it should, and the usual mistakes.

`checks.gaussian_kl(gaussian_kl)` prints one line, which says what is wrong but never the right value. Inputs, right
results and those of the usual mistakes lie in `assets/checks.npz`; `python3 run.py labs` makes it from the references
in `labs/references.py`. The graded tests of the labs use other inputs.
"""

import copy
import io
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit as sigmoid

PATH = Path(__file__).parent / "assets" / "checks.npz"

# Sentence -> what turns the right result into a usual wrong one, whatever the exercise.
USUAL_MISTAKES: dict[str, Callable] = {
    "the sign is the wrong way round.": np.negative,
    "it is twice what it should be: is a factor ½ missing?": lambda y: 2 * y,
    "it is half of what it should be: is there a factor ½ too many?": lambda y: y / 2,
    "there is a sigmoid too many.": sigmoid,
    "there is an exponential too many, or a logarithm is missing.": np.exp,
}


class Exercise(NamedTuple):
    """What is known of one exercise: arguments and right results by case, and by mistake's sentence its results."""

    view: Callable[[Any], Any]
    tolerance: float
    cases: list[tuple]
    right: list[list[np.ndarray]]
    mistakes: dict[str, list[list[np.ndarray]]]


def find_problem(name: str, function: Callable) -> str:
    """What is wrong with the student's function, in a clause or two; empty if nothing is."""
    exercise, found = read_exercises()[name], []
    for case in exercise.cases:
        given = copy.deepcopy(case)
        try:
            result = function(*given)
            if result is None:
                return "it returns nothing: does it end in `return ...`?"
            found.append(as_arrays(exercise.view(result)))
        except NotImplementedError:
            return "not written yet."
        except Exception as error:  # whatever the student's code raises; TensorFlow names its node first, in braces
            return f"it stops with {type(error).__name__}: " + str(error).rpartition("}} ")[2]
        if any(isinstance(a, np.ndarray) and not np.array_equal(a, b) for a, b in zip(given, case, strict=True)):
            return "it changes an array that it is given: work on a copy."
    wrong = [k for k in range(len(found)) if not agree(found[k], exercise.right[k], exercise.tolerance)]
    if not wrong:
        return ""
    with np.errstate(all="ignore"):  # of large numbers, some changes are infinite
        usual = {s: [[change(a) for a in part] for part in exercise.right] for s, change in USUAL_MISTAKES.items()}
    for sentence, results in [*exercise.mistakes.items(), *usual.items()]:
        if agree(found, results, exercise.tolerance):
            return sentence
    shapes = [a.shape for a in exercise.cases[wrong[0]] if isinstance(a, np.ndarray)]
    return describe_difference(found[wrong[0]], exercise.right[wrong[0]], shapes, exercise.tolerance)


def as_arrays(result: Any) -> list[np.ndarray]:
    """What a function returned, one array or a tuple of several, as a list of arrays."""
    return [np.asarray(part) for part in (result if isinstance(result, tuple) else (result,))]


def agree(found: Any, wanted: Any, tolerance: float) -> bool:
    """Whether arrays, or lists of arrays, have the same shapes and, relative to the largest, nearly the same values."""
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(agree(a, b, tolerance) for a, b in zip(found, wanted, strict=True))
    scale = tolerance * (1e-9 + np.abs(wanted).max(initial=0))
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=tolerance, atol=scale)


def describe_difference(found: list[np.ndarray], wanted: list[np.ndarray], shapes: list, tolerance: float) -> str:
    """How a result differs from the right one, for arguments of these shapes."""
    if len(found) != len(wanted):
        return f"it returns {len(found)} results where {len(wanted)} are asked for."
    a, b = next((a, b) for a, b in zip(found, wanted, strict=True) if not agree(a, b, tolerance))
    if a.ndim > 1 and a.shape != b.shape == a.shape[::-1]:
        return "its result is transposed."
    if a.shape != b.shape:
        one = "one number for the whole batch" if a.ndim == 0 else f"an array of shape {a.shape}"
        return f"it returns {one}, where the shape {b.shape} is asked for: look at the axis of your sums and means."
    if not np.isfinite(a).all():
        return "its result has values that are infinite or not a number."
    for size in {size for shape in shapes for size in (*shape, math.prod(shape[1:])) if size > 1}:
        if agree(a * size, b, tolerance):
            return f"it is {size} times too small: you took a mean over {size} values where a sum is asked for."
        if agree(a, b * size, tolerance):
            return f"it is {size} times too large: you took a sum over {size} values where a mean is asked for."
    return f"its shape is right, but its values are not: they differ by up to {np.abs(a - b).max():.3g}."


# --- what is stored -----------------------------------------------------------------------------------


def make_generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator of random numbers in a stored state."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator


@cache
def read_exercises() -> dict[str, Exercise]:
    """What is stored of every exercise, by its name; `labs/references.py` writes it.

    In its JSON, an object with one of the names below stands for what JSON lacks; a formula is an expression of NumPy
    and of the functions in this module.
    """
    with np.load(PATH) as arrays:
        kinds = {"array": arrays.get, "formula": eval, "generator": make_generator, "tuple": tuple}

        def decode(part: dict[str, Any]) -> Any:
            return next((kinds[name](value) for name, value in part.items() if name in kinds), part)

        index = json.loads(str(arrays["index"]), object_hook=decode)
        return {name: Exercise(**stored) for name, stored in index.items()}


def __getattr__(name: str) -> Callable[[Callable], None]:
    """The check of an exercise, which prints in one line what is wrong with the student's function."""
    if name.startswith("_") or name not in read_exercises():
        raise AttributeError(f"There is no exercise {name!r}: the check has the name of the function that you write.")
    return lambda function: print(f"{name}: {find_problem(name, function) or 'correct.'}")


# --- how results are compared that are no arrays -------------------------------------------------------


def view_autoencoder(pair: tuple) -> tuple:
    """Zeros in the shapes of codes and images, and the number of the first flaw below, 4 if there is none."""
    line = np.linspace(-3, 3, 9)[:, np.newaxis] * np.cos(np.arange(784))  # affine functions do not bend along it
    codes = np.asarray(pair[0](line.reshape(-1, 28, 28, 1)))
    pixels = np.asarray(pair[1](line[:, : codes.shape[-1]]), float)
    with np.errstate(all="ignore"):
        bends = [np.abs(np.diff(y, 2, axis=0)).max() / np.ptp(y) for y in (codes, np.log(pixels / (1 - pixels)))]
    large = sum(model.count_params() for model in pair) > 300_000
    flaws = pixels.min() < 0 or pixels.max() > 1, bends[0] < 1e-3, bends[1] < 1e-3, large, True
    return 0 * codes, 0 * pixels, flaws.index(True)


def view_batches(batches: Any) -> tuple:
    """Zeros in the shape of all noisy batches, and the number of the first flaw below, 5 if there is none."""
    noisy, clean = (np.stack(part) for part in zip(*batches, strict=True))
    noise = (noisy - clean)[..., 1:, :]  # the first column is white, which shows whether there is clipping
    images = noise.reshape(noisy.shape[0] * noisy.shape[1], -1)
    repeated, shared = np.allclose(noise[3:], noise[:-3]), len(np.unique(images, axis=0)) < len(images)
    spread = images.std(axis=1).mean()
    flaws = np.ptp(clean[..., 1:, :]) > 0, noisy.max() > 1, repeated, shared, abs(spread - 0.1) > 0.015, True
    return 0 * noisy, flaws.index(True)


def probe_network(model: Any) -> tuple:
    """Outputs for 0 with biases −1, averaging dense kernels and convolutions of 0; number of parameters."""
    if not hasattr(model, "count_params"):
        raise TypeError("return a keras.Model, not its outputs")
    model.set_weights([np.full(w.shape, {1: -1, 2: 1 / len(w)}.get(w.ndim, 0)) for w in model.get_weights()])
    outputs = model(np.zeros((2, *model.inputs[0].shape[1:])))
    return *(outputs if isinstance(outputs, (list, tuple)) else [outputs]), model.count_params()


def describe_noise(y: Any) -> np.ndarray:
    """What random numbers are like, whatever their values: shares below, at and above 0 and 1, mean, spread by axis."""
    y = np.asarray(y, float)
    shares = [np.mean(part) for part in (y < 0, y == 0, y == 1, y > 1, y)]
    return np.array([*shares, y.std(), *(y.std(axis=axis).mean() for axis in range(y.ndim))])


def describe_training(vae: Any) -> tuple:
    """How many weights learn in the encoder, in the decoder and in all, and what a VAE makes of a grey image."""
    counts = [sum(math.prod(w.shape) for w in part.trainable_weights) for part in (vae.encoder, vae.decoder, vae)]
    return np.array(counts), vae.reconstruct(np.full((1, 28, 28, 1), 0.5))


def move_slider(box: Any) -> tuple:
    """Range and first value of the slider in a box, and the picture there and at two other values."""
    parts = {type(part).__name__: part for part in box.children}
    if not {"FloatSlider", "Image"} <= parts.keys():
        raise ValueError("the children should be a FloatSlider and an Image")
    slider, picture, shown = parts["FloatSlider"], parts["Image"], []
    values = [slider.value, slider.max, slider.min / 2]
    for value in values:
        slider.value = value
        shown.append(np.asarray(Image.open(io.BytesIO(picture.value)) if picture.value else np.zeros((2, 5)), float))
    return np.array(values), *shown
