import numpy as np

from vae_utils.backend import keras
from vae_utils.vae import kl_divergence, kl_divergence_per_dim, reconstruction_loss

ops = keras.ops


def rates(m, s):
    return 0.5 * (m**2 + np.exp(s) - s - 1).mean(axis=0)


def rates_by_loop(z_mean, z_log_var):
    total = [0.0] * len(z_mean[0])
    for m_row, s_row in zip(z_mean, z_log_var, strict=True):
        for j in range(len(total)):
            total[j] += 0.5 * (m_row[j] ** 2 + np.exp(s_row[j]) - s_row[j] - 1) / len(z_mean)
    return np.array(total)


def terms(x, y, m, s):
    return rates(m, s).sum(), np.sum(np.logaddexp(0, y) - x * y, axis=(1, 2, 3)).mean()


def terms_by_loop(x, logits, z_mean, z_log_var):
    distortion = 0
    for image, logit in zip(x, logits, strict=True):
        p = 1 / (1 + np.exp(-logit))
        distortion -= np.sum(image * np.log(p) + (1 - image) * np.log(1 - p))
    return rates_by_loop(z_mean, z_log_var).sum(), distortion / len(x)


def terms_by_keras(x, logits, z_mean, z_log_var):
    return ops.mean(kl_divergence(z_mean, z_log_var)), ops.mean(reconstruction_loss(x, logits))


def active_by_loop(z_mean, threshold=0.01):
    return [sum((v - column.mean()) ** 2 for v in column) / len(column) > threshold for column in z_mean.T]


def average(records, column, ddof=1, power=0.5):
    sizes = np.unique([r["latent_dim"] for r in records])
    values = [[r[column] for r in records if r["latent_dim"] == n] for n in sizes]
    errors = [np.std(v, ddof=ddof) / len(v) ** power for v in values]
    return sizes, np.array([np.mean(v) for v in values]), np.array(errors)


def average_by_loop(records, column):
    groups = {}
    for record in records:
        groups.setdefault(record["latent_dim"], []).append(record[column])
    sizes, means, errors = [], [], []
    for size in sorted(groups):
        m = len(groups[size])
        mean = sum(groups[size]) / m
        sizes.append(size)
        means.append(mean)
        errors.append((sum((v - mean) ** 2 for v in groups[size]) / (m - 1) / m) ** 0.5)
    return sizes, means, errors


def choose(records, budget):
    sizes, rate, _ = average(records, "test_kl_loss")
    distortion = average(records, "test_reconstruction_loss")[1]
    return sizes[np.where(rate <= budget, distortion, np.inf).argmin()]


def choose_by_loop(records, budget):
    best, best_distortion = None, float("inf")
    for size in {r["latent_dim"] for r in records}:
        rows = [r for r in records if r["latent_dim"] == size]
        rate = sum(r["test_kl_loss"] for r in rows) / len(rows)
        distortion = sum(r["test_reconstruction_loss"] for r in rows) / len(rows)
        if rate <= budget and distortion < best_distortion:
            best, best_distortion = size, distortion
    return best


def choose_largest(records, budget):
    sizes, rate, _ = average(records, "test_kl_loss")
    return max(sizes[rate <= budget])


def choose_run(records, budget):
    rows = [r for r in records if r["test_kl_loss"] <= budget]
    return min(rows, key=lambda r: r["test_reconstruction_loss"])["latent_dim"]


def choose_without_budget(records, budget):
    sizes, distortion, _ = average(records, "test_reconstruction_loss")
    return int(sizes[distortion.argmin()])


RIGHT = {
    "measure_rates": [rates, rates_by_loop, lambda m, s: ops.mean(kl_divergence_per_dim(m, s), axis=0)],
    "measure_rate_and_distortion": [terms, terms_by_loop, terms_by_keras],
    "find_active": [
        lambda z, threshold=0.01: np.var(z, axis=0) > threshold,
        lambda z, threshold=0.01: (z**2).mean(axis=0) - z.mean(axis=0) ** 2 > threshold,
        active_by_loop,
    ],
    "average_over_seeds": [average, average_by_loop],
    "choose_size": [choose, choose_by_loop],
}
WRONG = {
    "measure_rates": [
        ("factor ½ missing", lambda m, s: 2 * rates(m, s)),
        ("as if it were log σ", lambda m, s: 0.5 * (m**2 + np.exp(s) ** 2 - 2 * s - 1).mean(axis=0)),
        ("the shape (3,) is asked for", lambda m, s: 0.5 * (m**2 + np.exp(s) - s - 1).mean(axis=1)),
        ("one number for the whole batch", lambda m, s: rates(m, s).mean()),
        ("took a sum over 7 values", lambda m, s: 0.5 * (m**2 + np.exp(s) - s - 1).sum(axis=0)),
        ("sign", lambda m, s: 0.5 * (1 + s - np.exp(s) - m**2).mean(axis=0)),
    ],
    "measure_rate_and_distortion": [
        ("the rate comes first", lambda x, y, m, s: terms(x, y, m, s)[::-1]),
        ("mean over 3 values", lambda x, y, m, s: (rates(m, s).mean(), terms(x, y, m, s)[1])),
        ("mean over 20 values", lambda x, y, m, s: (rates(m, s).sum(), terms(x, y, m, s)[1] / x[0].size)),
        ("the shape () is asked for", lambda x, y, m, s: (kl_divergence(m, s), reconstruction_loss(x, y))),
        ("returns 1 results", lambda x, y, m, s: sum(terms(x, y, m, s))),
    ],
    "find_active": [
        ("standard deviation", lambda z, threshold=0.01: z.std(axis=0) > threshold),
        ("not about the mean", lambda z, threshold=0.01: (z**2).mean(axis=0) > threshold),
        ("the shape (4,) is asked for", lambda z, threshold=0.01: np.where(z.var(axis=0) > threshold)[0]),
        ("the shape (4,) is asked for", lambda z, threshold=0.01: z.var(axis=1) > threshold),
        ("one number for the whole batch", lambda z, threshold=0.01: np.sum(z.var(axis=0) > threshold)),
    ],
    "average_over_seeds": [
        ("not by m - 1", lambda r, c: average(r, c, ddof=0)),
        ("a standard error is smaller", lambda r, c: average(r, c, power=0)),
        ("returns 2 results", lambda r, c: average(r, c)[:2]),
    ],
    "choose_size": [
        ("single run", choose_run),
        ("you choose the largest size", choose_largest),
        ("ignore the budget", choose_without_budget),
    ],
}
