import numpy as np

from vae_utils.backend import keras

ops = keras.ops


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# --- sparsity_penalty
def sparsity_ops(z, kernel, weight):
    norms = ops.sqrt(ops.sum(ops.square(kernel), axis=1))
    return weight * ops.sum(ops.abs(z) * norms, axis=1)


def sparsity_loop(z, kernel, weight):
    return np.array([weight * sum(abs(a) * np.linalg.norm(w) for a, w in zip(code, kernel, strict=True)) for code in z])


def sparsity_matmul(z, kernel, weight):
    return ops.matmul(ops.abs(weight * z), ops.norm(kernel, axis=-1))


# --- contractive_penalty
def contractive_ops(x, kernel, bias):
    z = ops.sigmoid(ops.matmul(x, kernel) + bias)
    return ops.sum(ops.square(z * (1 - z)) * ops.sum(ops.square(kernel), axis=0), axis=1)


def contractive_full(x, kernel, bias):
    z = sigmoid(x @ kernel + bias)
    jacobian = kernel[np.newaxis] * (z * (1 - z))[:, np.newaxis]
    return np.sum(jacobian**2, axis=(1, 2))


def contractive_cosh(x, kernel, bias):
    slope = 1 / (4 * np.cosh((x @ kernel + bias) / 2) ** 2)
    return np.einsum("nj,ij->n", slope**2, kernel**2)


# --- run_tied
def tied_ops(x, kernels, encoder_biases, decoder_biases):
    h = x
    for kernel, bias in zip(kernels, encoder_biases, strict=True):
        h = ops.sigmoid(ops.matmul(h, kernel) + bias)
    for kernel, bias in zip(reversed(kernels), decoder_biases, strict=True):
        h = ops.sigmoid(ops.matmul(h, ops.transpose(kernel)) + bias)
    return h


def tied_with(turn=lambda w: w.T, output=sigmoid, code=sigmoid):
    def run(x, kernels, encoder_biases, decoder_biases):
        n = len(kernels)
        for i in range(n):
            x = (code if i == n - 1 else sigmoid)(x @ kernels[i] + encoder_biases[i])
        for i in range(n):
            x = (output if i == n - 1 else sigmoid)(x @ turn(kernels[n - 1 - i]) + decoder_biases[i])
        return x

    return run


# --- draw_noisy_batches
def batches_list(x, batch_size, level, epochs, rng):
    pairs = []
    for _ in range(epochs):
        for start in range(0, len(x), batch_size):
            clean = x[start : start + batch_size]
            noise = rng.standard_normal(clean.shape, dtype=np.float32)
            pairs.append((np.clip(clean + level * noise, 0, 1), clean))
    return pairs


def batches_shuffled(x, batch_size, level, epochs, rng):
    for _ in range(epochs):
        for chosen in np.split(rng.permutation(len(x)), len(x) // batch_size):
            yield np.clip(rng.normal(x[chosen], level), 0, 1), x[chosen]


def batches_per_epoch(x, batch_size, level, epochs, rng):
    result = []
    for _ in range(epochs):
        noisy = np.minimum(np.maximum(x + rng.normal(0, level, x.shape), 0), 1)
        result += [(noisy[i : i + batch_size], x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    return result


def batches_with(draw, target=lambda clean, noisy: clean, clip=True):
    def wrong(x, batch_size, level, epochs, rng):
        kept, pairs = draw("start", x, batch_size, level, rng), []
        for _ in range(epochs):
            for i in range(0, len(x), batch_size):
                clean = x[i : i + batch_size]
                noise = draw("batch", clean, batch_size, level, rng)
                noise = (
                    kept[i : i + batch_size]
                    if noise is None and len(kept) == len(x)
                    else kept
                    if noise is None
                    else noise
                )
                noisy = np.clip(clean + noise, 0, 1) if clip else clean + noise
                pairs.append((noisy, target(clean, noisy)))
        return pairs

    return wrong


def draw_fresh(when, x, batch_size, level, rng):
    return level * rng.normal(size=x.shape)


def draw_once(when, x, batch_size, level, rng):
    return level * rng.normal(size=x.shape) if when == "start" else None


def draw_one_batch(when, x, batch_size, level, rng):
    return level * rng.normal(size=(batch_size, *x.shape[1:])) if when == "start" else None


def draw_own_generator(when, x, batch_size, level, rng):
    return level * np.random.default_rng(0).normal(size=x.shape)


def draw_one_image(when, x, batch_size, level, rng):
    return level * rng.normal(size=(1, *x.shape[1:])) + 0 * x


def draw_one_number(when, x, batch_size, level, rng):
    return level * rng.normal(size=(len(x), 1, 1, 1)) + 0 * x


def draw_variance(when, x, batch_size, level, rng):
    return level**2 * rng.normal(size=x.shape)


# --- keep_contributions
def keep_threshold(z, kernel, k):
    contributions = np.abs(z) * np.linalg.norm(kernel, axis=1)
    return np.where(contributions >= np.sort(contributions, axis=1)[:, -k, np.newaxis], z, 0)


def keep_loop(z, kernel, k):
    kept = np.zeros_like(z)
    norms = np.sqrt((kernel**2).sum(axis=1))
    for n in range(len(z)):
        best = np.argsort(-np.abs(z[n]) * norms)[:k]
        kept[n, best] = z[n, best]
    return kept


def keep_ops(z, kernel, k):
    size = ops.abs(z) * ops.norm(kernel, axis=1)
    return z * ops.cast(size >= ops.top_k(size, k)[0][:, -1:], z.dtype)


def keep_by(size, keep=lambda z, size: z, axis=1, smallest=False):
    def wrong(z, kernel, k):
        rank = size(z, np.linalg.norm(kernel, axis=1))
        order = np.sort(rank, axis=axis)
        limit = order.take([k - 1 if smallest else -k], axis)
        return np.where(rank <= limit if smallest else rank >= limit, keep(z, rank), 0)

    return wrong


def contribution(z, norms):
    return np.abs(z) * norms


# --- measure_gain
def gain_lstsq(trained, untrained, y_fit, y):
    def accuracy(z_fit, z):
        z_fit, z = (np.c_[part, np.ones(len(part))] for part in (z_fit, z))
        weights = np.linalg.lstsq(z_fit, np.eye(10)[y_fit], rcond=None)[0]
        return 100 * np.mean(np.argmax(z @ weights, axis=1) == y)

    scores = np.array([accuracy(*pair) for pair in trained])
    gains = scores - np.array([accuracy(*pair) for pair in untrained])
    return scores.mean(), gains.mean(), gains.std(ddof=1) / np.sqrt(len(gains))


def gain_sklearn(trained, untrained, y_fit, y):
    from sklearn.linear_model import LinearRegression

    scores, gains = [], []
    for after, before in zip(trained, untrained, strict=True):
        both = []
        for z_fit, z in (after, before):
            fit = LinearRegression().fit(z_fit, (y_fit[:, None] == np.arange(10)).astype(float))
            both.append(sum(fit.predict(z).argmax(axis=1) == y) / len(y) * 100)
        scores.append(both[0])
        gains.append(both[0] - both[1])
    n = len(gains)
    mean = sum(gains) / n
    return sum(scores) / n, mean, (sum((gain - mean) ** 2 for gain in gains) / (n - 1) / n) ** 0.5


def gain_with(constant=1, on_fit=False, error=lambda a, b: (a - b).std(ddof=1) / np.sqrt(len(a)), percent=100):
    def wrong(trained, untrained, y_fit, y):
        def accuracy(z_fit, z):
            z, target = (z_fit, y_fit) if on_fit else (z, y)
            z_fit, z = (np.c_[part, constant * np.ones(len(part))] for part in (z_fit, z))
            weights = np.linalg.lstsq(z_fit, np.eye(10)[y_fit], rcond=None)[0]
            return percent * np.mean(np.argmax(z @ weights, axis=1) == target)

        a, b = (np.array([accuracy(*pair) for pair in codes]) for codes in (trained, untrained))
        return a.mean(), (a - b).mean(), error(a, b)

    return wrong


RIGHT = {
    "sparsity_penalty": [sparsity_ops, sparsity_loop, sparsity_matmul],
    "contractive_penalty": [contractive_ops, contractive_full, contractive_cosh],
    "run_tied": [tied_ops, tied_with()],
    "draw_noisy_batches": [
        batches_list,
        batches_shuffled,
        batches_per_epoch,
        batches_with(draw_fresh),
        lambda *given: tuple(batches_list(*given)),
    ],
    "keep_contributions": [keep_threshold, keep_loop, keep_ops],
    "measure_gain": [gain_lstsq, gain_sklearn],
}
WRONG = {
    "sparsity_penalty": [
        ("norms of the decoder patterns are missing", lambda z, kernel, weight: weight * np.abs(z).sum(axis=1)),
        ("are squared", lambda z, kernel, weight: weight * np.abs(z) @ (kernel**2).sum(axis=1)),
        ("sign, not their magnitude", lambda z, kernel, weight: weight * z @ np.linalg.norm(kernel, axis=1)),
        ("one number for the whole batch", lambda *given: np.sum(sparsity_loop(*given))),
        ("4 times too small", lambda z, k, weight: weight * np.mean(np.abs(z) * np.linalg.norm(k, axis=1), axis=1)),
        ("it stops with", lambda z, kernel, weight: weight * np.abs(z) @ np.linalg.norm(kernel, axis=0)),
    ],
    "contractive_penalty": [
        ("not squared", lambda x, w, b: (s := sigmoid(x @ w + b)) * (1 - s) @ (w**2).sum(axis=0)),
        ("derivative of the sigmoid is missing", lambda x, w, b: np.full(len(x), (w**2).sum())),
        ("its square is asked for", lambda *given: np.sqrt(contractive_full(*given))),
        ("axis of your sums", lambda x, w, b: ((s := sigmoid(x @ w + b)) * (1 - s)) ** 2 * (w**2).sum(axis=0)),
        ("one number for the whole batch", lambda *given: contractive_full(*given).mean()),
    ],
    "run_tied": [
        ("not transposed", tied_with(turn=lambda w: w.reshape(w.shape[1], w.shape[0]))),
        ("sigmoid of the output is missing", tied_with(output=lambda a: a)),
        ("sigmoid too many", tied_with(output=lambda a: sigmoid(sigmoid(a)))),
        ("values are not", tied_with(code=lambda a: a)),
    ],
    "draw_noisy_batches": [
        ("first epoch comes again", batches_with(draw_once)),
        ("first epoch comes again", batches_with(draw_one_batch)),
        ("first epoch comes again", batches_with(draw_own_generator)),
        ("share their noise", batches_with(draw_one_image)),
        ("another standard deviation", batches_with(draw_variance)),
        ("another standard deviation", batches_with(draw_one_number)),
        ("not clipped", batches_with(draw_fresh, clip=False)),
        ("not clean", batches_with(draw_fresh, target=lambda clean, noisy: noisy)),
        ("shape", lambda x, batch_size, level, epochs, rng: batches_list(x, batch_size, level, 1, rng)),
    ],
    "keep_contributions": [
        ("norms of the patterns are left out", keep_by(lambda z, norms: np.abs(z))),
        ("with their sign", keep_by(lambda z, norms: z * norms)),
        ("across the batch", keep_by(contribution, axis=0)),
        ("values are not", lambda z, kernel, k: keep_loop(z, kernel, k) * np.linalg.norm(kernel, axis=1)),
        ("values are not", keep_by(contribution, smallest=True)),
    ],
    "measure_gain": [
        ("lacks the constant", gain_with(constant=0)),
        ("digits of the fit", gain_with(on_fit=True)),
        ("not the standard error", gain_with(error=lambda a, b: (a - b).std(ddof=1))),
        ("values are not", gain_with(error=lambda a, b: (a - b).std() / np.sqrt(len(a)))),
        ("values are not", gain_with(percent=1)),
    ],
}
