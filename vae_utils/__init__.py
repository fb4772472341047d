"""The course's one package: data, losses, models, metrics, training, shipped weights, pictures.

Importing `vae_utils` is cheap; TensorFlow loads when a name that needs it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOM_OF = {
    "load_fashion_mnist": "data",
    "load_mnist": "data",
    "pixel_log_odds": "data",
    "split_validation": "data",
    "reconstruction_loss": "losses",
    "kl_divergence": "losses",
    "build_encoder": "models",
    "build_decoder": "models",
    "Sampler": "models",
    "VAE": "models",
    "compiled_decoder": "models",
    "negative_elbo": "metrics",
    "importance_weighted_bound": "metrics",
    "kl_per_dimension": "metrics",
    "active_units": "metrics",
    "psnr": "metrics",
    "ssim": "metrics",
    "train": "training",
    "load_pretrained": "pretrained",
    "load_denoiser": "pretrained",
    "denoiser_metrics": "pretrained",
    "pretrained_metrics": "pretrained",
    "latent_sliders": "widgets",
    "latent_plane": "widgets",
    "interpolation": "widgets",
    "noise_slider": "widgets",
    "draw_a_digit": "widgets",
}
_ROOMS = ("backend", "data", "losses", "models", "metrics", "training", "pretrained", "plots", "widgets")

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        return getattr(import_module(f"vae_utils.{_ROOM_OF[name]}"), name)
    if name in _ROOMS:
        return import_module(f"vae_utils.{name}")
    raise AttributeError(f"module 'vae_utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF, *_ROOMS})
