"""The latent space's geometry against rotations, a full sort and plain arithmetic."""

import numpy as np
import pytest
from scipy.linalg import expm

from vae_utils import interpolate_linear, interpolate_spherical, order_by_kl


@pytest.mark.parametrize("interpolate", [interpolate_linear, interpolate_spherical])
def test_a_path_leads_from_a_to_b(interpolate):
    a, b = np.array([1.0, 2.0, 0.0]), np.array([-1.0, 0.5, 2.0])
    np.testing.assert_allclose(interpolate(a, b, np.array([0.0, 1.0])), [a, b], atol=1e-12)
    assert interpolate(a, b, 0.3).shape == (3,) and interpolate(a, b, np.zeros((4, 5))).shape == (4, 5, 3)


def test_linear_interpolation_divides_the_segment():
    np.testing.assert_allclose(interpolate_linear([0, 4], [8, 0], np.array([0.25, 0.5])), [[2, 3], [4, 2]])


def test_spherical_interpolation_is_a_rotation_at_a_constant_rate():
    """Vectors of one norm: `expm` of the plane's generator turns a into b, and t of the angle gives the path."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6))
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    u = a / np.linalg.norm(a)
    v = b - (b @ u) * u
    v /= np.linalg.norm(v)
    angle = np.arctan2(b @ v, b @ u)
    t = np.linspace(0, 1, 7)
    rotated = [expm(share * angle * (np.outer(v, u) - np.outer(u, v))) @ a for share in t]
    np.testing.assert_allclose(interpolate_spherical(a, b, t), rotated, atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [([1, 2], [0, 0]), ([1, 2], [2, 4]), ([1, 2], [-1, -2]), ([1], [-3])])
def test_where_slerp_is_undefined_the_path_is_linear(a, b):
    path = interpolate_spherical(a, b, np.linspace(0, 1, 5))
    np.testing.assert_allclose(path, np.linspace(a, b, 5), atol=1e-6)


def test_dimensions_are_ordered_by_kl_and_equal_ones_keep_their_order():
    assert order_by_kl([0.1, 3.0, 0.1, 1.0]).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: interpolate_linear([1, 2], [1, 2, 3], 0.5), "one shape"),
        (lambda: interpolate_spherical([1, np.nan], [1, 2], 0.5), "finite"),
        (lambda: interpolate_spherical([1, 0], [0, 1], 1.5), r"t must lie in \[0, 1\]"),
        (lambda: interpolate_linear([1, 0], [0, 1], np.nan), r"t must lie in \[0, 1\]"),
        (lambda: order_by_kl([[1.0]]), "kl_per_dimension"),
        (lambda: order_by_kl([np.inf]), "finite"),
    ],
)
def test_bad_input_gives_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
