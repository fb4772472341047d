import numpy as np


def hold_out_cumsum(families, order, count):
    sizes = np.array([np.count_nonzero(families == family) for family in order])
    return np.isin(families, order[: np.searchsorted(np.cumsum(sizes), count) + 1])


def hold_out_set(families, order, count):
    taken, pictures = set(), 0
    for family in order:
        if pictures < count:
            taken.add(family)
            pictures += int(np.sum(families == family))
    return np.array([family in taken for family in families])


def hold_out_early(families, order, count):
    held_out = np.zeros(len(families), bool)
    for family in order:
        if np.sum(held_out | (families == family)) >= count:
            break
        held_out |= families == family
    return held_out


def table_bincount(grey, grey_train, x_train, levels):
    step = np.clip(np.floor(levels * grey[..., 0]), 0, levels - 1).astype(int)
    step_train = np.clip(np.floor(levels * grey_train[..., 0]), 0, levels - 1).astype(int).ravel()
    count = np.bincount(step_train, minlength=levels)
    channels = [np.bincount(step_train, x_train[..., c].ravel(), levels) for c in range(3)]
    table = np.stack(channels, axis=-1) / np.maximum(count, 1)[:, np.newaxis]
    return np.where((count > 0)[step][..., np.newaxis], table[step], grey)


def table_digitize(grey, grey_train, x_train, levels):
    edges = np.arange(1, levels) / levels
    a, b = np.digitize(grey[..., 0], edges), np.digitize(grey_train[..., 0], edges)
    result = np.zeros((*grey.shape[:3], 3))
    for place in np.ndindex(a.shape):
        same = b == a[place]
        result[place] = x_train[same].mean(axis=0) if same.any() else grey[place]
    return result


def table_wrong(grey, grey_train, x_train, levels, step=np.floor, grey_where_empty=False):
    a, b = (np.minimum(step(levels * y[..., 0]), levels - 1) for y in (grey, grey_train))
    result = np.repeat(grey, 3, axis=-1) if grey_where_empty else np.zeros((*a.shape, 3))
    for level in np.unique(b):
        result[a == level] = x_train[b == level].mean(axis=0)
    return result


def table_nan(grey, grey_train, x_train, levels):
    step, step_train = np.floor(levels * grey[..., 0]), np.floor(levels * grey_train[..., 0])
    total = [np.sum(x_train[step_train == s], axis=0) for s in range(levels)]
    with np.errstate(all="ignore"):
        table = np.array([t / np.sum(step_train == s) for s, t in enumerate(total)])
    return table[step.astype(int)]


def table_one_channel(grey, grey_train, x_train, levels):
    return table_bincount(grey, grey_train, x_train, levels).mean(axis=-1, keepdims=True)


def roc_sorted(usual, unusual):
    usual = np.sort(usual)
    left, right = (np.searchsorted(usual, unusual, side) for side in ("left", "right"))
    return float((left + right).mean() / (2 * len(usual)))


def roc_loop(usual, unusual):
    points = 0.0
    for u in unusual:
        for o in usual:
            points += 1 if u > o else 0.5 if u == o else 0
    return points / (len(usual) * len(unusual))


def roc_ranks(usual, unusual):
    scores = np.concatenate([usual, unusual])
    ranks = np.array([np.sum(scores < s) + (np.sum(scores == s) + 1) / 2 for s in unusual])
    return (ranks.sum() - len(unusual) * (len(unusual) + 1) / 2) / (len(usual) * len(unusual))


def compare_dict(quality, quality_baseline, families):
    groups = {}
    for a, b, family in zip(quality, quality_baseline, families, strict=True):
        groups.setdefault(family, []).append(a - b)
    means = [sum(group) / len(group) for group in groups.values()]
    middle = sum(means) / len(means)
    variance = sum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
    return middle, (variance / len(means)) ** 0.5


def compare_bincount(quality, quality_baseline, families):
    _, number = np.unique(families, return_inverse=True)
    means = np.bincount(number, quality - quality_baseline) / np.bincount(number)
    return [np.mean(means), np.sqrt(np.var(means, ddof=1) / means.size)]


def compare_pictures(a, b, families):
    return np.mean(a - b), np.std(a - b, ddof=1) / np.sqrt(len(a))


def family_means(a, b, families):
    return np.array([(a - b)[families == family].mean() for family in np.unique(families)])


RIGHT = {
    "hold_out_families": [hold_out_cumsum, hold_out_set],
    "colour_by_table": [table_bincount, table_digitize],
    "area_under_roc": [roc_sorted, roc_loop, roc_ranks],
    "compare_by_family": [compare_dict, compare_bincount],
}
WRONG = {
    "hold_out_families": [
        ("not of families", lambda families, order, count: np.isin(families, order[:count])),
        ("it stops before", hold_out_early),
        ("True or False", lambda *a: np.flatnonzero(hold_out_set(*a))),
        ("in the given order", lambda families, order, count: hold_out_set(families, sorted(order), count)),
        ("its values are not", lambda families, order, count: np.arange(len(families)) < count),
    ],
    "colour_by_table": [
        ("you rounded", lambda *a: table_wrong(*a, step=np.round, grey_where_empty=True)),
        ("must stay grey", table_wrong),
        ("infinite or not a number", table_nan),
        ("the same colour", lambda g, gt, x, n: np.broadcast_to(x.mean(axis=(0, 1, 2)), (*g.shape[:3], 3))),
        ("the shape (4, 3, 2, 3) is asked for", table_one_channel),
    ],
    "area_under_roc": [
        ("exchanged", lambda usual, unusual: roc_loop(unusual, usual)),
        ("half, not nothing", lambda usual, unusual: np.mean(unusual[:, None] > usual)),
        ("half, not fully", lambda usual, unusual: np.mean(unusual[:, None] >= usual)),
        ("took a sum over", lambda usual, unusual: len(unusual) * roc_loop(usual, unusual)),
    ],
    "compare_by_family": [
        ("average within each family", compare_pictures),
        ("divides by F − 1", lambda *a: (family_means(*a).mean(), family_means(*a).std() / np.sqrt(len(set(a[2]))))),
        ("not of their mean", lambda *a: (family_means(*a).mean(), family_means(*a).std(ddof=1))),
        ("the sign", lambda a, b, f: tuple(-part for part in compare_dict(a, b, f))),
        ("1 results where 2", lambda *a: family_means(*a).mean()),
    ],
}
