import numpy as np
from keras import ops
from scipy.special import logsumexp
from scipy.stats import norm

from vae_utils import kl_divergence, reconstruction_loss

RIGHT, WRONG = {}, {}


def kl_loops(z_mean, z_log_var):
    result = []
    for mean, log_var in zip(z_mean, z_log_var, strict=True):
        total = 0.0
        for m, s in zip(mean, log_var, strict=True):
            total += (m * m + np.exp(s) - s - 1) / 2
        result.append(total)
    return result


RIGHT["gaussian_kl"] = [
    kl_loops,
    kl_divergence,
    lambda m, s: -0.5 * np.sum(1 + s - np.square(m) - np.exp(s), axis=-1),
    lambda m, s: ops.sum(0.5 * (m**2 + ops.exp(s) - s - 1), axis=1),
]
WRONG["gaussian_kl"] = [
    ("σ²", lambda m, s: np.sum(m**2 + s**2 - np.log(s**2) - 1, axis=1) / 2),
    ("mean over 3", lambda m, s: 0.5 * np.mean(m**2 + np.exp(s) - s - 1, axis=1)),
    ("factor ½ missing", lambda m, s: np.sum(m**2 + np.exp(s) - s - 1, axis=1)),
    ("sign", lambda m, s: 0.5 * np.sum(1 + s - m**2 - np.exp(s), axis=1)),
    ("(5, 3)", lambda m, s: 0.5 * (m**2 + np.exp(s) - s - 1)),  # the notebook's own function
    ("one number", lambda m, s: 0.5 * np.sum(m**2 + np.exp(s) - s - 1)),
    ("not a number", lambda m, s: 0.5 * np.sum(m**2 + s - np.log(s) - 1, axis=1)),
]


def draw_loops(z_mean, z_log_var, k, rng):
    z = np.empty((k, *z_mean.shape))
    for index in np.ndindex(*z.shape):
        z[index] = z_mean[index[1:]] + np.sqrt(np.exp(z_log_var[index[1:]])) * rng.normal()
    return z


RIGHT["draw_z"] = [
    draw_loops,
    lambda m, s, k, rng: rng.normal(m, np.exp(s / 2), size=(k, *m.shape)),
    lambda m, s, k, rng: np.stack([m + np.exp(0.5 * s) * rng.standard_normal(m.shape) for _ in range(k)]),
    lambda m, s, k, rng: m[None] + ops.exp(0.5 * s) * rng.normal(size=(k, *m.shape)),
]
WRONG["draw_z"] = [
    ("as if it were σ", lambda m, s, k, rng: m + s * rng.normal(size=(k, *m.shape))),
    ("multiplied by σ²", lambda m, s, k, rng: m + np.exp(s) * rng.normal(size=(k, *m.shape))),
    ("all images", lambda m, s, k, rng: m + np.exp(s / 2) * rng.normal(size=(k, 1, m.shape[1]))),
    ("are all the same", lambda m, s, k, rng: np.array([m + np.exp(s / 2) * rng.normal(size=m.shape)] * k)),
    ("float32", lambda m, s, k, rng: m + np.exp(s / 2) * rng.standard_normal((k, *m.shape), np.float32)),
    ("(5, 3)", lambda m, s, k, rng: m + np.exp(s / 2) * rng.normal(size=m.shape)),
    ("values are not", lambda m, s, k, rng: m + np.exp(s / 2) * np.random.default_rng(7).normal(size=(k, *m.shape))),
]


def cross_entropy(x, logits):
    cost = np.maximum(logits, 0) - x * logits + np.log1p(np.exp(-np.abs(logits)))
    return cost.reshape(*logits.shape[:2], -1).sum(axis=-1)


def cross_entropy_naive(x, logits):
    p = 1 / (1 + np.exp(-logits))
    return -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(2, 3, 4))


RIGHT["reconstruction_term"] = [
    cross_entropy,
    lambda x, logits: [reconstruction_loss(x, some) for some in logits],
    lambda x, logits: ops.sum(x * ops.softplus(-logits) + (1 - x) * ops.softplus(logits), axis=(2, 3, 4)),
    lambda x, logits: np.sum(np.logaddexp(0, np.where(x > 2, 0, logits)) - x[None] * logits, axis=(-1, -2, -3)),
]
WRONG["reconstruction_term"] = [
    ("mean over 12", lambda x, y: np.mean(np.logaddexp(0, y) - x * y, axis=(2, 3, 4))),
    ("infinite", cross_entropy_naive),
    ("sigmoid too many", lambda x, y: cross_entropy(x, 1 / (1 + np.exp(-y)))),
    ("1 − x", lambda x, y: np.sum(x * np.logaddexp(0, -y), axis=(2, 3, 4))),
    ("sign", lambda x, y: np.sum(x * y - np.logaddexp(0, y), axis=(2, 3, 4))),
    ("not a number", lambda x, y: -np.sum(x * np.log(y) + (1 - x) * np.log(1 - y), axis=(2, 3, 4))),
    ("one number", lambda x, y: np.sum(np.logaddexp(0, y) - x * y)),
]

kl = kl_divergence
RIGHT["elbo"] = [
    lambda x, y, m, s: np.mean(-cross_entropy(x, y) - np.asarray(kl(m, s)), axis=0),
    lambda x, y, m, s: -(sum(np.asarray(reconstruction_loss(x, some)) for some in y) / len(y) + kl_loops(m, s)),
    lambda x, y, m, s: -ops.mean(cross_entropy(x, y), axis=0) - kl(m, s),
]
WRONG["elbo"] = [
    ("sign", lambda x, y, m, s: cross_entropy(x, y).mean(axis=0) + kl_loops(m, s)),
    ("KL divergence is added", lambda x, y, m, s: -cross_entropy(x, y).mean(axis=0) + kl_loops(m, s)),
    ("draws are summed", lambda x, y, m, s: -cross_entropy(x, y).sum(axis=0) - kl_loops(m, s)),
    ("(3, 2)", lambda x, y, m, s: -cross_entropy(x, y) - kl_loops(m, s)),
    ("one number", lambda x, y, m, s: np.mean(-cross_entropy(x, y) - kl_loops(m, s))),
]


def weights_by_scipy(x, logits, z, z_mean, z_log_var):
    log_q = norm.logpdf(z, z_mean, np.exp(z_log_var / 2)).sum(axis=-1)
    return norm.logpdf(z).sum(axis=-1) - log_q - cross_entropy(x, logits)


def weights_from_noise(x, logits, z, z_mean, z_log_var):
    epsilon = (z - z_mean) * np.exp(-0.5 * z_log_var)
    gain = 0.5 * (epsilon**2 - z**2).sum(axis=2) + 0.5 * z_log_var.sum(axis=1)
    return gain - cross_entropy(x, logits)


def log_normal(z, mean, log_var):
    return -0.5 * np.sum((z - mean) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi) + 0 * z, axis=-1)


RIGHT["log_weights"] = [
    weights_by_scipy,
    weights_from_noise,
    lambda x, y, z, m, s: -cross_entropy(x, y) + log_normal(z, 0, 0) - log_normal(z, m, s),
]
WRONG["log_weights"] = [
    ("log q(z|x) is added", lambda x, y, z, m, s: log_normal(z, 0, 0) + log_normal(z, m, s) - cross_entropy(x, y)),
    ("factor 1/σ", lambda x, y, z, m, s: weights_by_scipy(x, y, z, m, s) - 0.5 * s.sum(axis=1)),
    ("values are not", lambda x, y, z, m, s: -cross_entropy(x, y) - log_normal(z, m, s)),
    ("sign", lambda x, y, z, m, s: -weights_by_scipy(x, y, z, m, s)),
    ("(3, 2, 5)", lambda x, y, z, m, s: norm.logpdf(z) - norm.logpdf(z, m, np.exp(s / 2))),
]

RIGHT["importance_bound"] = [
    lambda w: logsumexp(w, axis=0) - np.log(len(w)),
    lambda w: np.logaddexp.reduce(w - np.log(w.shape[0]), axis=0),
    lambda w: ops.logsumexp(w, axis=0) - np.log(w.shape[0]),
    lambda w: [c.max() + np.log(sum(np.exp(v - c.max()) for v in c) / len(c)) for c in w.T],
]
WRONG["importance_bound"] = [
    ("mean of the logarithms", lambda w: w.mean(axis=0)),
    ("not divided", lambda w: logsumexp(w, axis=0)),
    ("infinite", lambda w: np.log(np.mean(np.exp(w), axis=0))),
    ("one number", lambda w: logsumexp(w) - np.log(w.size)),
    ("(6,)", lambda w: logsumexp(w, axis=1) - np.log(w.shape[1])),
]
