"""The references of the labs' checks: for every exercise the right function, inputs, and the usual mistakes.

`python3 run.py labs` stores what they return in `vae_utils/assets/checks.npz`, where the students' checks find it.
A mistake is a sentence and the function that makes it; what the checks name by themselves is not repeated here.
"""

import copy
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import ipywidgets as widgets
import numpy as np

from vae_utils import checks, load_pretrained
from vae_utils.checks import PATH, Exercise, as_arrays, sigmoid
from vae_utils.widgets import png_bytes

CASES = 3  # seeds that a function is tried with
REFERENCES: dict[str, "Reference"] = {}


class Formula:
    """A function as an expression of NumPy and of what `vae_utils.checks` defines; it is stored as this text."""

    def __init__(self, text: str) -> None:
        self.text, self.function = text, eval(text, vars(checks))

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Reference:
    """The right function of an exercise, what gives its arguments, and what is compared of its results.

    Args:
        reference: the right function.
        inputs: a NumPy random generator -> the arguments of one case, a tuple.
        view: a formula, what is compared of what a student's function returns.
        tolerance: relative to the largest value.
        viewed: whether the reference and the mistakes return what is compared at once, instead of networks.
    """

    def __init__(self, reference: Callable, inputs: Callable, view: str, tolerance: float, viewed: bool) -> None:
        self.reference, self.inputs, self.view, self.tolerance = reference, inputs, Formula(view), tolerance
        self.viewed, self.mistakes = viewed, dict[str, Callable]()

    def mistake(self, sentence: str, function: Callable) -> None:
        """Name a mistake: `sentence` is what `function` of the same arguments earns."""
        self.mistakes[sentence] = function

    def results(self, function: Callable) -> list[list[np.ndarray]]:
        """What a function returns, by case."""
        results = (function(*copy.deepcopy(case)) for case in self.cases())
        return [as_arrays(result if self.viewed else self.view(result)) for result in results]

    def cases(self) -> list[tuple]:
        """The arguments, by case."""
        return [self.inputs(np.random.default_rng(seed)) for seed in range(CASES)]


def exercise(
    inputs: Callable, view: str = "lambda y: y", tolerance: float = 1e-4, viewed: bool = False
) -> Callable[[Callable], Reference]:
    """A decorator that makes a `Reference` of the function below it."""

    def make(function: Callable) -> Reference:
        REFERENCES[function.__name__] = Reference(function, inputs, view, tolerance, viewed)
        return REFERENCES[function.__name__]

    return make


def collect() -> dict[str, Exercise]:
    """What is stored of every exercise."""
    return {
        name: Exercise(
            part.view,
            part.tolerance,
            part.cases(),
            part.results(part.reference),
            {sentence: part.results(function) for sentence, function in part.mistakes.items()},
        )
        for name, part in REFERENCES.items()
    }


def encode(value: Any, arrays: list[np.ndarray]) -> Any:
    """What `vae_utils.checks` reads, as JSON; arrays are appended to `arrays`."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": f"a{len(arrays) - 1}"}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, Formula):
        return {"formula": value.text}
    if isinstance(value, tuple):
        return {"tuple": [encode(part, arrays) for part in value]}
    if isinstance(value, list):
        return [encode(part, arrays) for part in value]
    if isinstance(value, dict):
        return {key: encode(part, arrays) for key, part in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def write_exercises() -> None:
    """Store what the students' checks compare with."""
    arrays: list[np.ndarray] = []
    index = {name: encode(exercise._asdict(), arrays) for name, exercise in collect().items()}
    np.savez_compressed(PATH, index=json.dumps(index), **{f"a{k}": array for k, array in enumerate(arrays)})


# --- 01 · What is an autoencoder? --------------------------------------------------------------------


@exercise(lambda rng: (*(rng.uniform(size=(2, 5, 4, 3, 1)) * rng.uniform(1, 255, (5, 1, 1, 1))), 255.0))
def measure_psnr(x, x_recon, peak, axis=(1, 2, 3), log=np.log10):
    return np.mean(10 * log(peak**2 / np.mean((x - x_recon) ** 2, axis)))


measure_psnr.mistakes |= {
    "it is the PSNR of the mean error, not the mean of the images' PSNR.": lambda *a: measure_psnr.reference(*a, None),
    "the logarithm is natural: decibels use base 10.": lambda *a: measure_psnr.reference(*a, log=np.log),
}


@exercise(lambda rng: (rng.normal(3, 1, (20, 4, 3, 1)), rng.normal(1, 1, (5, 4, 3, 1)), 4))
def pca_reconstruct(x_fit, x, k, centred=True, columns=False):
    mean = centred * x_fit.mean(axis=0)
    vt = np.linalg.svd((x_fit - mean).reshape(len(x_fit), -1), full_matrices=False)[2]
    w = vt[:, :k] if columns else vt[:k].T
    return mean + ((x - mean).reshape(len(x), -1) @ w @ w.T).reshape(x.shape)


pca_reconstruct.mistakes |= {
    "columns of Vᵀ were used: its rows are the directions.": lambda *a: pca_reconstruct.reference(*a, columns=True),
    "nothing was centred: subtract the mean of x_fit from both.": lambda *a: pca_reconstruct.reference(*a, False),
    "PCA was fitted to x instead of x_fit.": lambda x_fit, x, k: pca_reconstruct.reference(x, x, k),
}


def draw_dense(rng, *shapes):
    return [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in shapes]


@exercise(lambda rng: (rng.normal(size=(5, 2, 3, 1)), draw_dense(rng, (6, 8), (8, 3)), draw_dense(rng, (3, 7), (7, 6))))
def run_autoencoder(x, encoder, decoder, hidden=lambda a: a.clip(0), code=np.positive, output=sigmoid):
    h = [x.reshape(len(x), -1)]
    for (kernel, bias), activate in zip(encoder + decoder, (hidden, code, hidden, output), strict=True):
        h.append(activate(h[-1] @ kernel + bias))
    return h[2], h[4].reshape(x.shape)


run_autoencoder.mistakes |= {
    "the code has no activation, but here a ReLU.": lambda *a: run_autoencoder.reference(*a, code=lambda z: z.clip(0)),
    "the sigmoid of the output is missing.": lambda *a: run_autoencoder.reference(*a, output=np.positive),
    "the hidden layers lack their non-linearity.": lambda *a: run_autoencoder.reference(*a, hidden=np.positive),
}


@exercise(lambda rng: (7,), view="view_autoencoder", viewed=True)
def build_autoencoder(code_size, flaw=4):
    return np.zeros((9, code_size)), np.zeros((9, 28, 28, 1)), flaw


build_autoencoder.mistakes |= {
    "the decoder's output can leave the range from 0 to 1.": lambda size: build_autoencoder.reference(size, 0),
    "the encoder has no hidden layer with a non-linearity.": lambda size: build_autoencoder.reference(size, 1),
    "the decoder has no hidden layer with a non-linearity.": lambda size: build_autoencoder.reference(size, 2),
    "the two have more than 300,000 parameters.": lambda size: build_autoencoder.reference(size, 3),
}


@exercise(lambda rng: tuple(rng.uniform(size=(2, 5, 4, 3, 1)) * rng.uniform(size=(4, 3, 1))))
def fraction_unexplained(x, x_recon, axis=0, sums=None):
    return np.mean(np.sum((x - x_recon) ** 2, sums) / np.sum((x - x.mean(axis)) ** 2, sums))


fraction_unexplained.mistakes |= {
    "the baseline is one grey value, not an image.": lambda *a: fraction_unexplained.reference(*a, None),
    "it is the mean of the images' fractions.": lambda *a: fraction_unexplained.reference(*a, sums=(1, 2, 3)),
}


# --- 02 · Seven autoencoders -------------------------------------------------------------------------


@exercise(lambda rng: (rng.normal(size=(5, 4)), rng.normal(size=(4, 7)), 0.3))
def sparsity_penalty(z, kernel, weight, size=np.abs, power=1):
    return weight * size(z) @ np.linalg.norm(kernel, axis=1) ** power


sparsity_penalty.mistakes |= {
    "the norms of the decoder patterns are missing.": lambda *a: sparsity_penalty.reference(*a, power=0),
    "the norms of the decoder patterns are squared.": lambda *a: sparsity_penalty.reference(*a, power=2),
    "activations enter with their sign, not their magnitude.": lambda *a: sparsity_penalty.reference(*a, np.positive),
}


@exercise(lambda rng: (rng.normal(size=(5, 6)), rng.normal(size=(6, 4)), rng.normal(size=4)))
def contractive_penalty(x, kernel, bias, power=2):
    z = sigmoid(x @ kernel + bias)
    return (z * (1 - z)) ** power @ np.sum(kernel**2, axis=0)


contractive_penalty.mistakes |= {
    "the derivative of the sigmoid is not squared.": lambda *a: contractive_penalty.reference(*a, 1),
    "the derivative of the sigmoid is missing.": lambda *a: contractive_penalty.reference(*a, 0),
    "it is the norm: its square is asked for.": lambda *a: contractive_penalty.reference(*a) ** 0.5,
}


def draw_arrays(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


@exercise(lambda rng: (*draw_arrays(rng, (5, 8)), *(draw_arrays(rng, *s) for s in (((8, 6), (6, 3)), (6, 3), (6, 8)))))
def run_tied(x, kernels, encoder_biases, decoder_biases, turn=np.transpose, output=sigmoid):
    h = sigmoid(sigmoid(x @ kernels[0] + encoder_biases[0]) @ kernels[1] + encoder_biases[1])
    return output(sigmoid(h @ turn(kernels[1]) + decoder_biases[0]) @ turn(kernels[0]) + decoder_biases[1])


run_tied.mistakes |= {
    "matrices were reshaped, not transposed.": lambda *a: run_tied.reference(*a, lambda w: w.reshape(w.shape[::-1])),
    "the sigmoid of the output is missing.": lambda *a: run_tied.reference(*a, output=np.positive),
}


@exercise(lambda rng: (np.tile([[1], *[[0.5]] * 8], (6, 9, 1, 1)), 2, 0.1, 2, rng), view="view_batches", viewed=True)
def draw_noisy_batches(x, batch_size, level, epochs, rng, flaw=5):
    return np.zeros((6, 2, 9, 9, 1)), flaw


draw_noisy_batches.mistakes |= {
    "the second part of a pair is not clean.": lambda *a: draw_noisy_batches.reference(*a, 0),
    "the noisy images are not clipped to [0, 1].": lambda *a: draw_noisy_batches.reference(*a, 1),
    "the noise of the first epoch comes again: draw it for every batch.": lambda *a: draw_noisy_batches.reference(
        *a, 2
    ),
    "several images share their noise: draw it for every image.": lambda *a: draw_noisy_batches.reference(*a, 3),
    "within an image, the noise has another standard deviation.": lambda *a: draw_noisy_batches.reference(*a, 4),
}


@exercise(lambda rng: (rng.normal(size=(6, 9)), rng.normal(size=(9, 5)) * rng.uniform(0.1, 3, size=(9, 1)), 3))
def keep_contributions(z, kernel, k, rank=lambda z, norms: np.abs(z) * norms, axis=1):
    size = rank(z, np.linalg.norm(kernel, axis=1))
    return np.where(size >= np.sort(size, axis=axis).take([-k], axis), z, 0)


keep_contributions.mistakes |= {
    "the norms of the patterns are left out.": lambda *a: keep_contributions.reference(*a, lambda z, norms: np.abs(z)),
    "units are ranked with their sign.": lambda *a: keep_contributions.reference(*a, lambda z, norms: z * norms),
    "units are ranked across the batch: rank those of each image.": lambda *a: keep_contributions.reference(*a, axis=0),
}


def draw_probes(rng):
    """Codes of three classes by four trained and four untrained networks, and the labels."""
    y, centres = rng.integers(3, size=(2, 60)), rng.normal(2, 2, size=(2, 4, 3, 2))
    return *([[c[part] + rng.normal(size=(60, 2)) for part in y] for c in networks] for networks in centres), *y


@exercise(draw_probes, tolerance=1e-3)
def measure_gain(trained, untrained, y_fit, y, constant=1.0, on_fit=False, count=None):
    def probe(z_fit, z):
        a, b = (np.c_[part, np.full(len(part), constant)] for part in (z_fit, z_fit if on_fit else z))
        guess = np.argmax(b @ np.linalg.lstsq(a, np.eye(10)[y_fit], rcond=None)[0], axis=1)
        return 100 * np.mean(guess == (y_fit if on_fit else y))

    after, before = (np.array([probe(*pair) for pair in codes]) for codes in (trained, untrained))
    return after.mean(), (after - before).mean(), (after - before).std(ddof=1) / np.sqrt(count or len(after))


measure_gain.mistakes |= {
    "the probe lacks the constant.": lambda *a: measure_gain.reference(*a, constant=0.0),
    "the accuracy is that on the digits of the fit.": lambda *a: measure_gain.reference(*a, on_fit=True),
    "the third is the standard deviation, not the standard error.": lambda *a: measure_gain.reference(*a, count=1),
}


# --- 03 · From autoencoder to VAE --------------------------------------------------------------------


@exercise(lambda rng: tuple(rng.normal(size=(2, 5, 3))), view="np.asarray")
def gaussian_kl(z_mean, z_log_var):
    return 0.5 * np.sum(np.exp(z_log_var) + z_mean**2 - 1 - z_log_var, axis=1)


gaussian_kl.mistake(
    "z_log_var is log σ², but is used as if it were σ: the variance is exp(z_log_var).",
    lambda m, s: 0.5 * np.sum(s**2 + m**2 - 1 - np.log(s**2), axis=1),
)


@exercise(lambda rng: (*rng.normal(size=(2, 5, 3)), 4, rng), view="np.asarray")
def draw_z(m, s, k, rng, noise=(4, 5, 3), dtype=float):
    return m + np.exp(s / 2) * np.broadcast_to(rng.standard_normal(noise, dtype), (4, 5, 3))


draw_z.mistake("z_log_var is log σ², but is used as if it were σ.", lambda m, s, k, r: m + s * r.normal(size=(4, 5, 3)))
draw_z.mistake("the noise is multiplied by σ², not by σ.", lambda m, s, k, r: draw_z.reference(m, 2 * s, k, r))
draw_z.mistake("all images get the same noise.", lambda *given: draw_z.reference(*given, (4, 1, 3)))
draw_z.mistake("the k draws of an image are all the same.", lambda *given: draw_z.reference(*given, (1, 5, 3)))
draw_z.mistake("the noise is float32: float64 is asked for.", lambda *given: draw_z.reference(*given, dtype="f"))


@exercise(lambda rng: (rng.random((2, 4, 3, 1)), rng.normal(0, 60, size=(3, 2, 4, 3, 1))), view="np.asarray")
def reconstruction_term(x, logits, black=1):
    return np.sum(x * np.logaddexp(0, -logits) + black * (1 - x) * np.logaddexp(0, logits), axis=(2, 3, 4))


reconstruction_term.mistake("there is a sigmoid too many.", lambda x, y: reconstruction_term.reference(x, sigmoid(y)))
reconstruction_term.mistake("the part with 1 − x is missing.", lambda x, y: reconstruction_term.reference(x, y, 0))


@exercise(
    lambda r: (r.random((2, 4, 3, 1)), r.normal(size=(3, 2, 4, 3, 1)), *r.normal(size=(2, 2, 5))), view="np.asarray"
)
def elbo(x, logits, m, s, weight=1 / 3, sign=1):
    return -weight * reconstruction_term.reference(x, logits).sum(axis=0) - sign * gaussian_kl.reference(m, s)


elbo.mistake("the KL divergence is added: it makes the bound lower.", lambda *given: elbo.reference(*given, 1 / 3, -1))
elbo.mistake("the draws are summed: their mean is asked for.", lambda *given: elbo.reference(*given, 1))


@exercise(
    lambda rng: (*elbo.inputs(rng)[:2], rng.normal(size=(3, 2, 5)), *rng.normal(size=(2, 2, 5))), view="np.asarray"
)
def log_weights(x, logits, z, m, s, sign=1, scale=1):
    squares = (z - m) ** 2 / np.exp(s) + scale * s, z**2
    log_q, log_p = (-0.5 * np.sum(part + math.log(2 * math.pi), axis=2) for part in squares)
    return log_p - sign * log_q - reconstruction_term.reference(x, logits)


log_weights.mistake("log q(z|x) is added: it is in the denominator.", lambda *given: log_weights.reference(*given, -1))
log_weights.mistake("the density of q(z|x) lacks its factor 1/σ.", lambda *given: log_weights.reference(*given, 1, 0))


@exercise(lambda rng: (rng.normal(-800, 3, size=(6, 4)),), view="np.asarray")
def importance_bound(log_w):
    return np.logaddexp.reduce(log_w) - math.log(6)


importance_bound.mistake("this is the mean of the logarithms: the mean comes first.", lambda w: w.mean(axis=0))
importance_bound.mistake("the sum is not divided by the number of draws.", np.logaddexp.reduce)


# --- 04 · A convolutional VAE ------------------------------------------------------------------------


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


@exercise(lambda rng: ((8, 4 * int(rng.integers(2, 4)), 1), int(rng.integers(2, 5))), view="probe_network", viewed=True)
def small_encoder(shape, d, strides=16, heads=2, hidden=gelu, last=lambda x: x):
    z, size = np.full((2, d), last(hidden(hidden(-1) - 1) - 1)), math.prod(shape) // strides * 32
    return z, z, 26 * 16 + 145 * 32 + (size + 1) * 64 + heads * 65 * d


small_encoder.mistake("the convolutions lack their stride of 2.", lambda *a: small_encoder.reference(*a, 1))
small_encoder.mistake("z_mean and z_log_var need a layer each.", lambda *a: small_encoder.reference(*a, 16, 1))
small_encoder.mistake("the hidden layers have ReLU.", lambda *a: small_encoder.reference(*a, hidden=lambda x: 0))
small_encoder.mistake("an activation follows the last layers.", lambda *a: small_encoder.reference(*a, last=gelu))


@exercise(small_encoder.inputs, view="probe_network", viewed=True)
def small_decoder(shape, d, last=lambda x: x, strides=1):
    logits = np.full((2, shape[0] // strides, shape[1] // strides, 1), last(-1.0))
    return logits, 64 * (d + 1) + 65 * 2 * math.prod(shape) + 145 * 32 - 16 + 401


small_decoder.mistake("there is a sigmoid too many.", lambda *a: small_decoder.reference(*a, sigmoid))
small_decoder.mistake("the convolutions lack their stride of 2.", lambda *a: small_decoder.reference(*a, strides=4))


@exercise(lambda r: (r.random((4, 3, 5, 1)), r.normal(0, 60, (4, 3, 5, 1)), *r.normal(size=(2, 4, 6)), 9 * r.random()))
def vae_loss(x, logits, m, s, beta, pixel=1):
    kl = 0.5 * np.sum(np.exp(s) + m**2 - 1 - s, axis=1)
    return np.mean(pixel * np.sum(np.logaddexp(0, logits) - x * logits, axis=(1, 2, 3)) + beta * kl)


vae_loss.mistake("beta is not used: it weights the KL divergence.", lambda *a: vae_loss.reference(*a[:4], 1))
vae_loss.mistake("beta weights the reconstruction loss.", lambda *a: vae_loss.reference(*a[:4], 1, a[4]))
vae_loss.mistake("the KL divergence is a mean over its dimensions.", lambda *g: vae_loss.reference(*g[:4], g[4] / 6))
vae_loss.mistake("the reconstruction loss is a mean over the pixels.", lambda *g: vae_loss.reference(*g, 1 / 15))


@exercise(lambda rng: (rng.random((6, 3, 5, 1)) * (np.arange(15) > 2).reshape(3, 5, 1), rng.random((4, 3, 5, 1))))
def average_digit_loss(x_train, x):
    p = np.clip(x_train.mean(axis=0), 0.001, 0.999)
    return -np.mean(np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3)))


average_digit_loss.mistake("all pixels get one mean.", lambda t, x: average_digit_loss.reference(t * 0 + t.mean(), x))
average_digit_loss.mistake("it is the mean of `x`, not of `x_train`.", lambda t, x: average_digit_loss.reference(x, x))


DECODE_PLAINLY = Formula(  # a decoder, `(n, latent_dim)` -> logits `(n, 2, 3, 1)`
    "lambda z: (np.asarray(z) @ np.arange(1, 1 + 6 * np.shape(z)[1]).reshape(-1, 6) / 9).reshape(-1, 2, 3, 1)"
)


@exercise(lambda rng: (DECODE_PLAINLY, int(rng.integers(5, 9)), int(rng.integers(3, 5)), rng))
def sample_images(decode, count, d, rng):
    return sigmoid(decode(rng.normal(size=(count, d))))


for low, high in ((0, 1), (-1, 1), (-3, 3)):
    sample_images.mistake(
        f"z is uniform from {low} to {high}: the prior is normal.",
        lambda decode, n, d, rng, low=low, high=high: sigmoid(decode(rng.uniform(low, high, (n, d)))),
    )
sample_images.mistake("these are logits: probabilities are asked for.", lambda f, n, d, rng: f(rng.normal(size=(n, d))))


@exercise(lambda rng: (DECODE_PLAINLY, int(rng.integers(3, 6)), 1 + rng.random()))
def latent_grid(decode, side, reach, turn=((1, 0), (0, 1)), squash=sigmoid):
    across, up = np.meshgrid(np.linspace(-reach, reach, side), np.linspace(reach, -reach, side))
    return squash(decode(np.stack([across.ravel(), up.ravel()], axis=1) @ turn))


latent_grid.mistake("it is upside down: z[1] falls downwards.", lambda *g: latent_grid.reference(*g, ((1, 0), (0, -1))))
latent_grid.mistake("z[0] and z[1] are exchanged.", lambda *g: latent_grid.reference(*g, ((0, 1), (1, 0))))
latent_grid.mistake("z[0] changes along the columns.", lambda *g: latent_grid.reference(*g, ((0, 1), (-1, 0))))
latent_grid.mistake("these are logits, not probabilities.", lambda *g: latent_grid.reference(*g, squash=lambda x: x))


# --- 05 · From 2 to 10 latent dimensions -------------------------------------------------------------


@exercise(lambda rng: tuple(rng.normal(size=(2, 7, 3))), view="np.asarray")
def measure_rates(z_mean, z_log_var):
    return 0.5 * np.mean(np.exp(z_log_var) + z_mean**2 - 1 - z_log_var, axis=0)


measure_rates.mistake("you use log σ² as if it were log σ.", lambda m, s: measure_rates.reference(m, 2 * s))


@exercise(lambda rng: (rng.random((6, 4, 5, 1)), rng.normal(size=(6, 4, 5, 1)), *rng.normal(size=(2, 6, 3))))
def measure_rate_and_distortion(x, logits, z_mean, z_log_var):
    return measure_rates.reference(z_mean, z_log_var).sum(), np.sum(np.logaddexp(0, logits) - x * logits) / len(x)


measure_rate_and_distortion.mistake("the rate comes first.", lambda *c: measure_rate_and_distortion.reference(*c)[::-1])


@exercise(
    lambda rng: (rng.normal(size=(50, 4)) * [1, 0.3, 0.05, 0.005] + rng.normal(size=4), 0.01),
    view="lambda y: np.asarray(y, float)",
)
def find_active(z_mean, threshold):
    return z_mean.var(axis=0) > threshold


find_active.mistake("you compare the standard deviation, not the variance.", lambda z, t: z.std(axis=0) > t)
find_active.mistake("your mean square is not about the mean.", lambda z, t: (z**2).mean(axis=0) > t)


RATE, DISTORTION = "test_kl_loss", "test_reconstruction_loss"


def draw_records(rng: np.random.Generator) -> list[dict]:
    """Records as of `load_sweep_table`, in any order, with two to five seeds per size."""
    sizes = rng.permutation(np.repeat(np.arange(2, 11), rng.integers(2, 6, 9))).tolist()
    return [{"latent_dim": n, RATE: rng.normal(2 * n, 2), DISTORTION: rng.normal(100, 9)} for n in sizes]


@exercise(lambda rng: (draw_records(rng), RATE))
def average_over_seeds(records, column, ddof=1, root=0.5):
    sizes = sorted({record["latent_dim"] for record in records})
    groups = [[record[column] for record in records if record["latent_dim"] == size] for size in sizes]
    return sizes, [np.mean(g) for g in groups], [np.std(g, ddof=ddof) / len(g) ** root for g in groups]


average_over_seeds.mistake("you divide by m, not by m - 1.", lambda r, c: average_over_seeds.reference(r, c, 0))
average_over_seeds.mistake("a standard error is smaller than s.", lambda r, c: average_over_seeds.reference(r, c, 1, 0))


@exercise(lambda rng: (draw_records(rng), rng.uniform(9, 17)))
def choose_size(records, budget, cost=lambda size, distortion: distortion):
    (sizes, rates, _), (_, distortions, _) = (average_over_seeds.reference(records, c) for c in (RATE, DISTORTION))
    return min((cost(n, d), n) for n, r, d in zip(sizes, rates, distortions, strict=True) if r <= budget)[1]


choose_size.mistake("you ignore the budget.", lambda records, _: choose_size.reference(records, np.inf))
choose_size.mistake("you choose the largest size.", lambda *c: choose_size.reference(*c, lambda n, _: -n))
choose_size.mistake(
    "you choose a single run: average over its seeds first.",
    lambda records, b: min((r[DISTORTION], r["latent_dim"]) for r in records if r[RATE] <= b)[1],
)


# --- 06 · Removing noise -----------------------------------------------------------------------------


@exercise(lambda rng: (np.full((50, 20, 20, 1), 0.5), 0.5, rng), view="describe_noise", tolerance=0.02)
def add_noise(x, level, rng, size=None):
    return np.clip(x + level * rng.normal(size=size or x.shape), 0, 1)


add_noise.mistake("you did not clip the result.", lambda x, level, rng: rng.normal(x, level))
add_noise.mistake("all images get the same noise.", lambda x, *case: add_noise.reference(x, *case, x.shape[1:]))
add_noise.mistake("all pixels of an image get one number.", lambda x, *c: add_noise.reference(x, *c, (len(x), 1, 1, 1)))


@exercise(lambda rng: (x := rng.random((5, 4, 3, 3)), x * np.linspace(0.2, 0.9, 5).reshape(5, 1, 1, 1)))
def mean_psnr(x, x_recon, axis=(1, 2, 3)):
    return np.mean(-10 * np.log10(np.mean((x - x_recon) ** 2, axis=axis)))


mean_psnr.mistake("it is the PSNR of the mean error: each image has its own.", lambda *c: mean_psnr.reference(*c, None))


@exercise(lambda rng: (*rng.random((2, 40, 2, 3, 1)), 3.0))
def fit_linear_denoiser(x_noisy, x_clean, ridge, constants=1):
    n = len(x_noisy)
    design = np.c_[x_noisy.reshape(n, -1), np.ones((n, constants))]
    return np.linalg.solve(design.T @ design + ridge * np.eye(design.shape[1]), design.T @ x_clean.reshape(n, -1))


fit_linear_denoiser.mistake("the constant is missing.", lambda *c: fit_linear_denoiser.reference(*c, 0))
fit_linear_denoiser.mistake("the ridge is missing.", lambda x, y, _: fit_linear_denoiser.reference(x, y, 0))
fit_linear_denoiser.mistake("you map clean to noisy.", lambda x, y, ridge: fit_linear_denoiser.reference(y, x, ridge))

load_once = cache(load_pretrained)


@exercise(lambda rng: (rng.normal(0.2, 0.5, (2, 28, 28, 1)), 2), tolerance=1e-3)
def remove_noise(x_noisy, latent_dim, denoising=True):
    return load_once(latent_dim, denoising).reconstruct(np.clip(x_noisy, 0, 1))


remove_noise.mistake("this encoder was trained on clean digits only.", lambda *c: remove_noise.reference(*c, False))
remove_noise.mistake("these are logits, not images.", lambda *c: -np.log(1 / remove_noise.reference(*c) - 1))


@exercise(lambda rng: (int(rng.integers(2, 5)),), view="describe_training")
def freeze_decoder(latent_dim, encoder=True, decoder=False, denoising=False):
    vae = load_once(latent_dim, denoising)
    vae.encoder.trainable, vae.decoder.trainable = encoder, decoder
    return vae


freeze_decoder.mistake("the decoder is still trainable.", lambda n: freeze_decoder.reference(n, True, True))
freeze_decoder.mistake("you froze the encoder instead.", lambda n: freeze_decoder.reference(n, False, True))
freeze_decoder.mistake("you froze the encoder, too.", lambda n: freeze_decoder.reference(n, False, False))
freeze_decoder.mistake("start from the first encoder.", lambda n: freeze_decoder.reference(n, True, False, True))


# --- 07 · Latent traversal ---------------------------------------------------------------------------


@exercise(
    lambda rng: (a := rng.normal(size=(5, 4)) / 4, np.r_[2 * a[:1], rng.normal(size=(4, 4)) / 4], 0.3),
    view="np.asarray",
)
def slerp(a, b, t, axis=1, normalised=True):
    norms = np.linalg.norm(a, axis=axis, keepdims=True) * np.linalg.norm(b, axis=axis, keepdims=True)
    cosine = np.sum(a * b, axis=axis, keepdims=True) / (norms if normalised else 1)
    omega = np.maximum(np.arccos(np.clip(cosine, -1, 1)), 1e-4)
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


slerp.mistake("this is linear interpolation.", lambda a, b, t: (1 - t) * a + t * b)
slerp.mistake("cos ω is not a · b: divide by both norms.", lambda *case: slerp.reference(*case, normalised=False))
slerp.mistake("you use one angle for all pairs of codes.", lambda *case: slerp.reference(*case, axis=None))


CLASSES = 4 + np.arange(60) % 3


@exercise(
    lambda rng: (rng.normal(size=(60, 4)) + CLASSES[:, np.newaxis], rng.normal(CLASSES), CLASSES), view="np.asarray"
)
def attribute_step(z, attribute, y, power=2):
    classes = y[:, np.newaxis] == np.unique(y)  # a constant per class does the centring
    weights = np.linalg.lstsq(np.c_[z, classes], attribute, rcond=None)[0][: z.shape[1]]
    return weights / np.linalg.norm(weights) ** power


attribute_step.mistake("nothing is centred.", lambda z, a, y: (w := np.linalg.lstsq(z, a, rcond=None)[0]) / (w @ w))
attribute_step.mistake("you did not centre within classes.", lambda z, a, y: attribute_step.reference(z, a, 0 * y))
attribute_step.mistake("these are the weights, not a step of one unit.", lambda *c: attribute_step.reference(*c, 0))
attribute_step.mistake("your step has length 1, which is not one unit.", lambda *c: attribute_step.reference(*c, 1))


DECODE_WAVES = Formula(  # a decoder, `(n, 3)` -> `(n, 2, 5, 1)` in [0, 1]
    "lambda z: sigmoid(np.asarray(z) @ np.cos(np.arange(30)).reshape(3, 10)).reshape(len(z), 2, 5, 1)"
)


@exercise(lambda rng: (DECODE_WAVES, *(rng.normal(size=size) for size in ((4, 3), 3, 6))), view="np.asarray")
def decode_moves(decode, z, step, amounts):
    return np.stack([decode(z + amount * step) for amount in amounts])


decode_moves.mistake("the amounts come first, then the codes.", lambda *c: decode_moves.reference(*c).swapaxes(0, 1))
decode_moves.mistake(
    "you changed the length of the step, which holds its unit.",
    lambda decode, z, step, amounts: decode_moves.reference(decode, z, step / np.linalg.norm(step), amounts),
)


@exercise(lambda rng: (rng.normal(size=(30, 3)), 2 * rng.normal(size=(6, 3)), 4), view="np.asarray")
def nearest_codes(z_known, z, k, order=1):
    return np.argsort(order * np.linalg.norm(z[:, np.newaxis] - z_known, axis=2), axis=1)[:, :k]


nearest_codes.mistake("these are the farthest codes.", lambda *case: nearest_codes.reference(*case, -1))
nearest_codes.mistake("the nearest should come first.", lambda *case: nearest_codes.reference(*case)[:, ::-1])


@exercise(lambda rng: (DECODE_WAVES, *rng.normal(size=(2, 3)), 2.0), view="move_slider", tolerance=0.02)
def attribute_slider(decode, z, step, reach, low=-1, observed="value", drawn=True):
    slider, picture = widgets.FloatSlider(0, min=low * reach, max=reach), widgets.Image()

    def redraw(_: Any = None) -> None:
        picture.value = png_bytes(decode((z + slider.value * step)[np.newaxis])[0])

    slider.observe(redraw, observed)
    if drawn:
        redraw()
    return widgets.VBox([slider, picture])


attribute_slider.mistake("nothing follows the slider.", lambda *c: attribute_slider.reference(*c, -1, "step"))
attribute_slider.mistake("there is no picture at first.", lambda *c: attribute_slider.reference(*c, -1, "value", False))
attribute_slider.mistake("the slider has no negative values.", lambda *c: attribute_slider.reference(*c, 0))


# --- 08 · Applications -------------------------------------------------------------------------------


def draw_families(rng):
    families = rng.integers(0, 12, 30)
    return families, rng.permutation(np.unique(families)), 7


@exercise(draw_families, view="lambda y: np.asarray(y, float)")
def hold_out_families(families, order, count, more=0):
    taken = np.cumsum([np.sum(families == family) for family in order])
    return np.isin(families, order[: 1 + more + np.argmax(taken >= count)])


hold_out_families.mistakes |= {
    "`count` is a number of pictures, not of families.": lambda f, order, count: np.isin(f, order[:count]),
    "it stops before `count` pictures are held out.": lambda *a: hold_out_families.reference(*a, more=-1),
    "the families must be taken in the given order.": lambda f, o, n: hold_out_families.reference(f, np.sort(o), n),
    "True or False for each picture is asked for.": lambda *a: np.flatnonzero(hold_out_families.reference(*a)),
}


@exercise(lambda rng: (rng.random((4, 3, 2, 1)), 0.7 * rng.random((5, 3, 2, 1)), rng.random((5, 3, 2, 3)), 6))
def colour_by_table(grey, grey_train, x_train, levels, step=np.floor, empty=1):
    a, b = (np.minimum(step(levels * y), levels - 1) for y in (grey, grey_train))
    table = {level: x_train[b[..., 0] == level].mean(axis=0) for level in np.unique(b)}
    pixels = [table.get(level, empty * y * np.ones(3)) for level, y in zip(a.flat, grey.flat, strict=True)]
    return np.reshape(pixels, (*grey.shape[:3], 3))


colour_by_table.mistakes |= {
    "you rounded to the nearest step: take the integer part.": lambda *a: colour_by_table.reference(*a, step=np.round),
    "pixels whose step has no training pixel must stay grey.": lambda *a: colour_by_table.reference(*a, empty=0),
    "every pixel gets the same colour.": lambda g, _, x, n: np.zeros((*g.shape[:3], 3)) + x.mean(axis=(0, 1, 2)),
}


@exercise(lambda rng: (rng.integers(0, 6, 12) / 4, rng.integers(1, 8, 7) / 4))
def area_under_roc(usual, unusual, tie=0.5):
    return np.mean([(u > usual) + tie * (u == usual) for u in unusual])


area_under_roc.mistakes |= {
    "the two groups are exchanged.": lambda a, b: area_under_roc.reference(b, a),
    "equal scores must count half, not nothing.": lambda a, b: area_under_roc.reference(a, b, tie=0),
    "equal scores must count half, not fully.": lambda a, b: area_under_roc.reference(a, b, tie=1),
}


@exercise(lambda rng: (*rng.normal(20, 3, (2, 24)), np.arange(24) % 7), view="lambda y: tuple(np.ravel(y))")
def compare_by_family(a, b, families, ddof=1, root=0.5):
    means = np.array([np.mean((a - b)[families == family]) for family in np.unique(families)])
    return means.mean(), means.std(ddof=ddof) / len(means) ** root


compare_by_family.mistakes |= {
    "average within each family first.": lambda a, b, _: compare_by_family.reference(a, b, np.arange(len(a))),
    "s² divides by F − 1.": lambda *a: compare_by_family.reference(*a, ddof=0),
    "it is the deviation of the families, not of their mean.": lambda *a: compare_by_family.reference(*a, root=0),
}


# --- 09 · When VAEs fail -----------------------------------------------------------------------------


@exercise(lambda rng: (rng.random((5, 4, 3, 1)), rng.normal(0, 2, (5, 4, 3, 1)), *rng.normal(size=(2, 5, 2))))
def batch_loss(x, logits, m, s, pixels=np.sum, latents=np.sum):
    cross_entropy = pixels(np.logaddexp(0, logits) - x * logits, axis=(1, 2, 3))
    return np.mean(cross_entropy + 0.5 * latents(m**2 + np.exp(s) - s - 1, axis=1))


batch_loss.mistakes |= {
    "one term is a sum over the image, the other a mean.": lambda *a: batch_loss.reference(*a, pixels=np.mean),
    "the KL divergence is a mean over the dimensions.": lambda *a: batch_loss.reference(*a, latents=np.mean),
}


@exercise(lambda rng: tuple(rng.normal(size=(3, 5, 2))))
def draw_codes(m, s, epsilon, sigma=lambda s: np.exp(s / 2)):
    return m + sigma(s) * epsilon


draw_codes.mistakes |= {  # the first of an exercise is what `diagnose` meets
    "exp(z_log_var) is σ², but σ scales the noise.": lambda *a: draw_codes.reference(*a, sigma=np.exp),
    "z_log_var is a logarithm, no standard deviation.": lambda *a: draw_codes.reference(*a, sigma=np.positive),
}


@exercise(lambda rng: (rng.random((5, 4, 3, 1)), rng.normal(0.5, 0.4, (5, 4, 3, 1)).clip(0, 1)), tolerance=1e-3)
def image_cross_entropy(x, p, black=1):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return -np.sum(x * np.log(p) + black * (1 - x) * np.log(1 - p), axis=(1, 2, 3))


image_cross_entropy.mistakes |= {
    "p is taken for a logit: a second sigmoid.": lambda x, p: image_cross_entropy.reference(x, sigmoid(p)),
    "only white costs something: what of 1 − x?": lambda *a: image_cross_entropy.reference(*a, black=0),
}


@exercise(lambda rng: (*rng.normal(size=(2, 5, 3)), *rng.normal(size=(2, 3))))
def kl_to_prior(m, s, prior_m, prior_s, means=1, logs=1):
    distance = means * (m - prior_m) ** 2 / np.exp(prior_s)
    return 0.5 * np.sum(distance + np.exp(s - prior_s) - logs * (s - prior_s) - 1, axis=1)


kl_to_prior.mistakes |= {
    "the logarithms of the variances are missing.": lambda *a: kl_to_prior.reference(*a, logs=0),
    "the means play no part in it.": lambda *a: kl_to_prior.reference(*a, means=0),
    "measure the distance of the means in σ of the prior.": lambda *a: kl_to_prior.reference(*a, np.exp(a[3])),
    "it is the divergence from N(0, 1).": lambda m, s, *_: kl_to_prior.reference(m, s, 0, 0),
}


TWO_CALLS = "lambda draw: describe_noise([draw(np.ones((4000, 3)), np.full((4000, 3), 2.0)) for _ in range(2)])"


@exercise(lambda rng: (int(rng.integers(100)),), view=TWO_CALLS, tolerance=0.05)
def make_sampler(seed, shared=0):
    rng = np.random.default_rng(seed)
    return lambda m, sigma: m + sigma * rng.standard_normal(m.shape[shared:])


make_sampler.mistakes |= {
    "every call returns the same draws.": lambda seed: lambda *a: make_sampler.reference(seed)(*a),
    "all images get the same noise.": lambda seed: make_sampler.reference(seed, shared=1),
}


SUM_PIXELS = Formula("lambda x: (x.sum(axis=(1, 2, 3)), 5 * x.max(axis=(1, 2, 3)))")  # two terms, each `(n,)`


@exercise(lambda rng: (rng.random((11, 3, 2, 1)) * np.arange(11).reshape(11, 1, 1, 1), SUM_PIXELS, 4))
def epoch_loss(x, terms, size):
    return np.mean(sum(terms(x)))


def average_batches(x, terms, size, kl=np.mean):
    return np.mean([r.mean() + kl(k) for r, k in (terms(x[i : i + size]) for i in range(0, len(x), size))])


epoch_loss.mistakes |= {
    "the KL divergence is summed over the batch.": lambda *a: average_batches(*a, kl=np.sum),
    "an image of the last, smaller batch counts more than another.": average_batches,
}


FAILURES = (
    "loss averaged over the pixels",
    "wrong standard deviation in the sampler",
    "sigmoid applied twice",
    "wrong KL divergence",
    "noise not redrawn",
    "weight of the KL divergence depends on the batch size",
)
VIEW_FAILURES = f"lambda names: [*(int(name in names) for name in {FAILURES}), len({{*names}} - {{*{FAILURES}}})]"
CROSS_ENTROPY = "np.sum(np.logaddexp(0, logits) - x * logits, axis=(1, 2, 3))"
KL = "0.5 * np.sum(m**2 + np.exp(s) - s - 1, axis=1)"
LOSS = "-np.sum(x * np.log({0}) + (1 - x) * np.log(1 - {0}), axis=(1, 2, 3))"
TO_PRIOR = "0.5 * np.sum((m - a) ** 2 / np.exp(b) + np.exp(s - b) {} - 1, axis=1)"
BATCHES = "np.mean([r.mean() + np.sum(k) for r, k in (terms(x[i : i + size]) for i in range(0, len(x), size))])"
DRAWS = "lambda m, s: m + s * {}.standard_normal(m.shape)"
RIGHT_AND_WRONG = {  # in the order of FAILURES: the function's name, its arguments, its result and one with the failure
    "batch_loss": (
        "x, logits, m, s",
        f"np.mean({CROSS_ENTROPY} + {KL})",
        f"np.mean({CROSS_ENTROPY} / x[0].size + {KL})",
    ),
    "draw_codes": ("m, s, epsilon", "m + np.exp(s / 2) * epsilon", "m + np.exp(s) * epsilon"),
    "image_cross_entropy": ("x, p", LOSS.format("np.clip(p, 1e-6, 1 - 1e-6)"), LOSS.format("sigmoid(p)")),
    "kl_to_prior": ("m, s, a, b", TO_PRIOR.format("- (s - b)"), TO_PRIOR.format("")),
    "make_sampler": (
        "seed",
        f"(lambda rng: {DRAWS.format('rng')})(np.random.default_rng(seed))",
        DRAWS.format("np.random.default_rng(seed)"),
    ),
    "epoch_loss": ("x, terms, size", "np.mean(sum(terms(x)))", BATCHES),
}


def make_program(rng):
    """Six functions by their names, half of them with a failure."""
    broken = rng.permutation(6) % 2
    forms = {
        name: f"lambda {form[0]}: {form[1 + k]}"
        for (name, form), k in zip(RIGHT_AND_WRONG.items(), broken, strict=True)
    }
    return ({name: Formula(text) for name, text in forms.items()},)


@exercise(make_program, view=VIEW_FAILURES)
def diagnose(program):
    parts = zip(FAILURES, RIGHT_AND_WRONG.items(), strict=True)
    return [failure for failure, (name, form) in parts if program[name].text.endswith(f": {form[2]}")]


for failure in FAILURES:
    diagnose.mistakes |= {
        f"it misses “{failure}” in one form.": lambda a, f=failure: [n for n in diagnose.reference(a) if n != f],
        f"it finds “{failure}” where it is not.": lambda a, f=failure: [*diagnose.reference(a), f],
    }
