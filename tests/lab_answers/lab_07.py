import ipywidgets
import numpy as np

from vae_utils import interpolate_spherical
from vae_utils.backend import keras
from vae_utils.widgets import png_bytes

ops = keras.ops


def slerp_by_rows(a, b, t):
    return np.stack([interpolate_spherical(one, other, t) for one, other in zip(a, b, strict=True)])


def slerp_where(a, b, t):
    unit_a, unit_b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    omega = np.arccos(np.clip((unit_a * unit_b).sum(axis=-1, keepdims=True), -1, 1))
    curved = (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)
    return np.where(np.sin(omega) < 1e-6, (1 - t) * a + t * b, curved)


def slerp_unnormalised(a, b, t):
    omega = np.arccos(np.clip((a * b).sum(axis=1, keepdims=True), -1, 1))
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def slerp_one_angle(a, b, t):
    omega = np.arccos(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def slerp_naive(a, b, t):
    cosine = np.sum(a * b, axis=1, keepdims=True)
    cosine = cosine / np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    omega = np.arccos(np.clip(np.round(cosine, 12), -1, 1))
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def weights_of(z, a, y):
    z, a = z.astype(float), a.astype(float)
    for label in set(y.tolist()):
        z[y == label] -= z[y == label].mean(axis=0)
        a[y == label] -= a[y == label].mean()
    return np.linalg.solve(z.T @ z, z.T @ a)


def step(z, a, y):
    w = weights_of(z, a, y)
    return w / np.linalg.norm(w) ** 2


def step_by_sklearn(z, a, y):
    from sklearn.linear_model import LinearRegression

    centre = np.array([z[y == label].mean(axis=0) for label in y])
    level = np.array([a[y == label].mean() for label in y])
    w = LinearRegression().fit(z - centre, a - level).coef_
    return w / sum(w * w)


def step_not_centred(z, a, y):
    w = np.linalg.lstsq(z, a, rcond=None)[0]
    return w / (w @ w)


def step_in_place(z, a, y):
    for label in np.unique(y):
        z[y == label] -= z[y == label].mean(axis=0)
    return step(z, a, y)


def unit_step(z, a, y):
    w = weights_of(z, a, y)
    return w / np.linalg.norm(w)


def moves(decode, z, step, amounts):
    codes = z[np.newaxis] + amounts[:, np.newaxis, np.newaxis] * step
    images = decode(codes.reshape(-1, z.shape[1]))
    return images.reshape(len(amounts), len(z), *images.shape[1:])


def moves_by_loop(decode, z, step, amounts):
    return [[decode((code + amount * step)[np.newaxis])[0] for code in z] for amount in amounts]


def nearest_by_loop(z_known, z, k):
    rows = []
    for code in z:
        distances = [float(np.sum((other - code) ** 2)) for other in z_known]
        rows.append(sorted(range(len(z_known)), key=distances.__getitem__)[:k])
    return rows


def nearest_by_sklearn(z_known, z, k):
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(z_known).kneighbors(z, return_distance=False)


def squares(z_known, z):
    return (z_known**2).sum(axis=1) - 2 * z @ z_known.T + (z**2).sum(axis=1)[:, np.newaxis]


def make_slider(low=-1, observed=True, drawn=True, times=1.0, box=ipywidgets.VBox, flip=False):
    def build(decode, z, step, reach):
        slider = ipywidgets.FloatSlider(value=0, min=low * reach, max=reach)
        picture = ipywidgets.Image()

        def draw(change):
            picture.value = png_bytes(decode((z + times * slider.value * step)[None])[0])

        if observed:
            slider.observe(draw, names="value")
        if drawn:
            draw(None)
        return box([picture, slider] if flip else [slider, picture])

    return build


def slider_by_class(decode, z, step, reach):
    class Box(ipywidgets.HBox):
        def __init__(self):
            self.slider = ipywidgets.FloatSlider(0.0, min=-reach, max=reach, description="value")
            self.image = ipywidgets.Image(value=self.draw(0.0), format="png")
            super().__init__([ipywidgets.Label("move it"), self.image, self.slider])
            self.slider.observe(lambda change: setattr(self.image, "value", self.draw(change["new"])), "value")

        def draw(self, value):
            return png_bytes(np.squeeze(decode(np.array([z + value * step])), axis=0))

    return Box()


RIGHT = {
    "slerp": [slerp_by_rows, slerp_where],
    "attribute_step": [step, step_by_sklearn],
    "decode_moves": [moves, moves_by_loop],
    "nearest_codes": [nearest_by_loop, nearest_by_sklearn, lambda known, z, k: squares(known, z).argsort()[:, :k]],
    "attribute_slider": [make_slider(flip=True, box=ipywidgets.HBox), slider_by_class],
}
WRONG = {
    "slerp": [
        ("linear interpolation", lambda a, b, t: a + t * (b - a)),
        ("divide by both norms", slerp_unnormalised),
        ("one angle for all pairs", slerp_one_angle),
        ("infinite or not a number", slerp_naive),
    ],
    "attribute_step": [
        ("did not centre within classes", lambda z, a, y: step(z - z.mean(axis=0), a - a.mean(), np.zeros(len(y)))),
        ("nothing is centred", step_not_centred),
        ("these are the weights", weights_of),
        ("has length 1", unit_step),
        ("the sign", lambda z, a, y: -step(z, a, y)),
        ("changes an array", step_in_place),
    ],
    "decode_moves": [
        ("the amounts come first", lambda d, z, s, m: np.swapaxes(moves(d, z, s, m), 0, 1)),
        ("changed the length of the step", lambda d, z, s, m: moves(d, z, s / np.linalg.norm(s), m)),
        ("ValueError", lambda d, z, s, m: d(z + m[:, None, None] * s)),
        ("where the shape", lambda d, z, s, m: d((z + m[:, None, None] * s).reshape(-1, len(s)))),
    ],
    "nearest_codes": [
        ("farthest", lambda known, z, k: (-squares(known, z)).argsort(axis=1)[:, :k]),
        ("its values are not", lambda known, z, k: np.sqrt(np.sort(squares(known, z), axis=1)[:, :k])),
        ("should come first", lambda known, z, k: squares(known, z).argsort(axis=1)[:, :k][:, ::-1]),
        ("transposed", lambda known, z, k: squares(known, z).argsort(axis=1)[:, :k].T),
    ],
    "attribute_slider": [
        ("nothing follows the slider", make_slider(observed=False)),
        ("no picture at first", make_slider(drawn=False)),
        ("no negative values", make_slider(low=0)),
        ("has no attribute 'children'", lambda d, z, s, r: ipywidgets.FloatSlider(0, min=-r, max=r)),
        ("its values are not", make_slider(times=2.0)),
    ],
}
