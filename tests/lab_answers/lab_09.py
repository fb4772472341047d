import numpy as np

from vae_utils import kl_divergence, reconstruction_loss
from vae_utils.backend import keras

ops = keras.ops


def batch_loss_loop(x, logits, z_mean, z_log_var):
    total = 0
    for image, a, m, s in zip(x, logits, z_mean, z_log_var, strict=True):
        p = 1 / (1 + np.exp(-a))
        total -= (image * np.log(p) + (1 - image) * np.log(1 - p)).sum()
        total -= 0.5 * (1 + s - m**2 - np.exp(s)).sum()
    return total / len(x)


def batch_loss_keras(x, logits, z_mean, z_log_var):
    return ops.mean(reconstruction_loss(x, logits) + kl_divergence(z_mean, z_log_var))


def make_loss(reduce_pixels, reduce_latents, reduce_batch=np.mean, sign=1):
    def loss(x, logits, m, s):
        bce = reduce_pixels(np.logaddexp(0, logits) - x * logits, axis=(1, 2, 3))
        return reduce_batch(bce + sign * 0.5 * reduce_latents(m**2 + np.exp(s) - s - 1, axis=1))

    return loss


def cross_entropy_keras(x, p):
    p = ops.clip(p, 1e-6, 1 - 1e-6)
    return ops.sum(ops.binary_crossentropy(x, p), axis=(1, 2, 3))


def cross_entropy_logits(x, p):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return reconstruction_loss(x, np.log(p) - np.log1p(-p))


def kl_loop(z_mean, z_log_var, prior_mean, prior_log_var):
    result = np.zeros(len(z_mean))
    for j in range(z_mean.shape[1]):
        var, prior_var = np.exp(z_log_var[:, j]), np.exp(prior_log_var[j])
        result += 0.5 * np.log(prior_var / var) + (var + (z_mean[:, j] - prior_mean[j]) ** 2) / (2 * prior_var) - 0.5
    return result


def kl_scaled(z_mean, z_log_var, prior_mean, prior_log_var):
    return kl_divergence((z_mean - prior_mean) * np.exp(-prior_log_var / 2), z_log_var - prior_log_var)


def kl_without_means(m, s, a, b):
    return 0.5 * np.sum(np.exp(s - b) - (s - b) - 1, axis=-1)


def kl_unscaled(m, s, a, b):
    return kl_without_means(m, s, a, b) + 0.5 * np.sum((m - a) ** 2, axis=-1)


def sampler_class(seed):
    class Draw:
        def __init__(self):
            self.rng = np.random.default_rng(seed)

        def __call__(self, z_mean, sigma):
            return self.rng.normal(z_mean, sigma)

    return Draw()


def sampler_keras(seed):
    generator = keras.random.SeedGenerator(seed)
    return lambda z_mean, sigma: z_mean + sigma * np.asarray(keras.random.normal(z_mean.shape, seed=generator))


def sampler_old(seed):
    state = np.random.RandomState(seed)

    def draw(z_mean, sigma):
        return z_mean + sigma * state.randn(*z_mean.shape)

    return draw


def sampler_same(seed):
    return lambda z_mean, sigma: z_mean + sigma * np.random.default_rng(seed).standard_normal(z_mean.shape)


def sampler_shared(seed):
    rng = np.random.default_rng(seed)
    return lambda z_mean, sigma: z_mean + sigma * rng.standard_normal(z_mean.shape[1])


def sampler_uniform(seed):
    rng = np.random.default_rng(seed)
    return lambda z_mean, sigma: z_mean + sigma * rng.random(z_mean.shape)


def sampler_one_number(seed):
    rng = np.random.default_rng(seed)
    return lambda z_mean, sigma: z_mean + sigma * rng.standard_normal((len(z_mean), 1))


def epoch_weighted(x, terms, batch_size):
    mean, seen = 0.0, 0
    while seen < len(x):
        batch = x[seen : seen + batch_size]
        reconstruction, kl = terms(batch)
        mean += (np.mean(reconstruction) + np.mean(kl)) * len(batch) / len(x)
        seen += len(batch)
    return mean


def epoch_concatenate(x, terms, batch_size):
    losses = []
    for start in range(0, len(x), batch_size):
        reconstruction, kl = terms(x[start : start + batch_size])
        losses.extend(reconstruction + kl)
    return sum(losses) / len(losses)


def epoch_broken(x, terms, batch_size, kl_of=np.sum, whole=False):
    losses = []
    for start in range(0, len(x) - (batch_size - 1 if whole else 0), batch_size):
        reconstruction, kl = terms(x[start : start + batch_size])
        losses.append(np.mean(reconstruction) + kl_of(kl))
    return np.mean(losses)


def diagnose_solution(program, sigma_log_var=2.2, both=True, always=False):
    found = []
    black, zero, one = np.zeros((2, 4, 4, 1)), np.zeros((2, 3)), np.ones((2, 3))
    if not np.isclose(program["batch_loss"](black, black, zero, zero), 16 * np.log(2)):
        found.append("loss averaged over the pixels")
    wanted = 1 + np.exp(sigma_log_var / 2)
    if not np.allclose(program["draw_codes"](one, zero + sigma_log_var, one), wanted):
        found.append("wrong standard deviation in the sampler")
    if not np.allclose(program["image_cross_entropy"](black, black), 0, atol=0.01) or always:
        found.append("sigmoid applied twice")
    ok = np.allclose(program["kl_to_prior"](zero + 2, zero, zero[0], zero[0]), 3 * 4 / 2)
    if both:
        ok &= np.allclose(program["kl_to_prior"](zero, zero - 1, zero[0], zero[0]), 3 * np.exp(-1) / 2)
    if not ok:
        found.append("wrong KL divergence")
    draw = program["make_sampler"](0)
    if np.allclose(draw(zero, one), draw(zero, one)):
        found.append("noise not redrawn")
    if not np.isclose(program["epoch_loss"](black, lambda x: (np.zeros(len(x)), np.ones(len(x))), 2), 1):
        found.append("weight of the KL divergence depends on the batch size")
    return found


def diagnose_random(program):
    rng, found = np.random.default_rng(5), set()
    x, logits = rng.random((3, 2, 2, 1)), rng.normal(size=(3, 2, 2, 1))
    m, s = rng.normal(size=(2, 3, 2))
    wanted = np.mean(reconstruction_loss(x, logits) + kl_divergence(m, s))
    if abs(program["batch_loss"](x, logits, m, s) - wanted) > 0.01:
        found.add("loss averaged over the pixels")
    if abs(program["draw_codes"](m, s, 0 * m + 1) - m - np.exp(s / 2)).max() > 0.01:
        found.add("wrong standard deviation in the sampler")
    p = 1 / (1 + np.exp(-logits))
    if abs(program["image_cross_entropy"](x, p) - np.asarray(reconstruction_loss(x, logits))).max() > 0.01:
        found.add("sigmoid applied twice")
    if abs(program["kl_to_prior"](m, s, m[0], s[0]) - kl_loop(m, s, m[0], s[0])).max() > 0.01:
        found.add("wrong KL divergence")
    draw = program["make_sampler"](1)
    if (draw(m, 0 * m + 1) == draw(m, 0 * m + 1)).all():
        found.add("noise not redrawn")

    def terms(part):
        return part.sum(axis=(1, 2, 3)), part.max(axis=(1, 2, 3))

    if abs(program["epoch_loss"](x, terms, 1) - program["epoch_loss"](x, terms, 3)) > 0.01:
        found.add("weight of the KL divergence depends on the batch size")
    return sorted(found)


RIGHT = {
    "batch_loss": [batch_loss_loop, batch_loss_keras],
    "draw_codes": [
        lambda m, s, e: m + np.sqrt(np.exp(s)) * e,
        lambda m, s, e: ops.add(m, ops.multiply(ops.exp(s / 2), e)),
    ],
    "image_cross_entropy": [cross_entropy_keras, cross_entropy_logits],
    "kl_to_prior": [kl_loop, kl_scaled],
    "make_sampler": [sampler_class, sampler_keras, sampler_old],
    "epoch_loss": [epoch_weighted, epoch_concatenate],
    "diagnose": [diagnose_solution, diagnose_random],
}
WRONG = {
    "batch_loss": [
        ("one term is a sum over the image", make_loss(np.mean, np.sum)),
        ("mean over the dimensions", make_loss(np.sum, np.mean)),
        ("5 times too large", make_loss(np.sum, np.sum, np.sum)),
        ("the shape () is asked for", make_loss(np.sum, np.sum, np.array)),
    ],
    "draw_codes": [
        ("exp(z_log_var) is σ²", lambda m, s, e: m + np.exp(s) * e),
        ("no standard deviation", lambda m, s, e: m + s * e),
        ("returns nothing", lambda m, s, e: None),
        ("it changes an array", lambda m, s, e: m.__iadd__(np.exp(0.5 * s) * e)),
    ],
    "image_cross_entropy": [
        ("a second sigmoid", lambda x, p: np.sum(np.logaddexp(0, p) - x * p, axis=(1, 2, 3))),
        ("infinite or not a number", lambda x, p: unclipped(x, p)),
        ("only white costs something", lambda x, p: -np.sum(x * np.log(np.clip(p, 1e-6, 1)), axis=(1, 2, 3))),
        ("the sign is the wrong way round", lambda x, p: -cross_entropy_logits(x, p)),
        ("12 times too small", lambda x, p: cross_entropy_logits(x, p) / 12),
    ],
    "kl_to_prior": [
        ("the means play no part", kl_without_means),
        ("in σ of the prior", kl_unscaled),
        ("divergence from N(0, 1)", lambda m, s, a, b: kl_divergence(m, s)),
        ("logarithms of the variances are missing", lambda m, s, a, b: kl_loop(m, s, a, b) + 0.5 * (s - b).sum(axis=1)),
        ("twice what it should be", lambda m, s, a, b: 2 * kl_loop(m, s, a, b)),
    ],
    "make_sampler": [
        ("every call returns the same draws", sampler_same),
        ("all images get the same noise", sampler_shared),
        ("its values are not", sampler_uniform),
        ("its values are not", sampler_one_number),
    ],
    "epoch_loss": [
        ("summed over the batch", epoch_broken),
        ("last, smaller batch counts more", lambda *a: epoch_broken(*a, kl_of=np.mean)),
        ("its values are not", lambda *a: epoch_broken(*a, kl_of=np.mean, whole=True)),
        ("11 times too large", lambda x, terms, n: np.sum(terms(x))),
    ],
    "diagnose": [
        ("it misses “wrong standard deviation", lambda program: diagnose_solution(program, sigma_log_var=0.0)),
        ("it misses “wrong KL divergence", lambda program: diagnose_solution(program, both=False)),
        ("it finds “sigmoid applied twice” where", lambda program: diagnose_solution(program, always=True)),
        ("its values are not", lambda program: []),
    ],
}


def unclipped(x, p):
    with np.errstate(all="ignore"):
        return -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3))
