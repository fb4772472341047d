"""Geometry of the latent space: paths between two codes, dimensions in order of KL."""

import numpy as np


def interpolate_linear(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Linear interpolation, (1 − t) a + t b, `(*t.shape, latent_dim) float64`.

    `a` and `b` are codes `(latent_dim,)`, `t` is a number or an array in [0, 1]. ValueError if they are not.
    """
    a, b, t = _check_path(a, b, t)
    return (1 - t) * a + t * b


def interpolate_spherical(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Spherical linear interpolation (slerp): (sin((1 − t) ω) a + sin(t ω) b) / sin ω, ω the angle between a and b.

    The direction turns at a constant rate; if `a` and `b` have the same norm, every point has it. Where sin ω is 0
    (a zero vector, the same or opposite directions, one dimension) the formula is undefined and the path is linear.
    Source: Shoemake (1985), "Animating rotation with quaternion curves". Arguments, result, errors as for the linear.
    """
    a, b, t = _check_path(a, b, t)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    omega = np.arccos(np.clip(a @ b / norms, -1, 1)) if norms else 0.0
    if np.sin(omega) < 1e-6:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def _check_path(a: np.ndarray, b: np.ndarray, t: float | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, t = (np.asarray(value, np.float64) for value in (a, b, t))
    if a.ndim != 1 or a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"a and b must be finite and of one shape (latent_dim,), but have {a.shape} and {b.shape}.")
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"t must lie in [0, 1], but reaches from {t.min():.3g} to {t.max():.3g}.")
    return a, b, t[..., np.newaxis]


def order_by_kl(kl_per_dimension: np.ndarray) -> np.ndarray:
    """Dimensions by their KL divergence `(latent_dim,)`, largest first, equal ones in their order: `(latent_dim,) int`.

    ValueError: not one finite number per dimension.
    """
    kl = np.asarray(kl_per_dimension, np.float64)
    if kl.ndim != 1 or not np.isfinite(kl).all():
        raise ValueError(f"kl_per_dimension must be (latent_dim,) finite numbers, but has the shape {kl.shape}.")
    return np.argsort(-kl, kind="stable")
