"""The shelf: the VAEs that ship with the course, one per latent size, and what their training measured.

Made by `python3 run.py sweep --ship`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WEIGHTS_DIR = Path(__file__).parent / "assets"
EPOCHS = 30


def weights_path(latent_dim: int) -> Path:
    """Where the weights of one size are."""
    return WEIGHTS_DIR / f"vae_L{latent_dim}_E{EPOCHS}.weights.h5"


def metrics_path(latent_dim: int) -> Path:
    """Where the record of the training that made them is."""
    return WEIGHTS_DIR / f"vae_L{latent_dim}_E{EPOCHS}.metrics.json"


def pretrained_sizes() -> list[int]:
    """The latent sizes that ship, rising."""
    found = WEIGHTS_DIR.glob(f"vae_L*_E{EPOCHS}.weights.h5")
    return sorted(int(path.name.removeprefix("vae_L").partition("_")[0]) for path in found)


def _check_size(latent_dim: int) -> None:
    sizes = pretrained_sizes()
    if latent_dim not in sizes:
        raise ValueError(f"No weights ship for latent_dim={latent_dim!r}; there are {', '.join(map(str, sizes))}.")


def load_pretrained(latent_dim: int) -> Any:
    """The VAE of that size, trained for 30 epochs, ready to encode and decode.

    Args:
        latent_dim: one of `pretrained_sizes()`.

    Returns:
        a `VAE`.

    Raises:
        ValueError: no weights of that size ship (the message names those that do), or the file is damaged.
    """
    from vae_utils.models import VAE, build_decoder, build_encoder

    _check_size(latent_dim)
    vae = VAE(build_encoder(latent_dim), build_decoder(latent_dim))
    path = weights_path(latent_dim)
    try:
        vae.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The weights {path} cannot be read ({error}): restore them with `git checkout -- {path.name}` "
            "in their folder or install the package again."
        ) from error
    return vae


def pretrained_metrics(latent_dim: int) -> dict[str, Any]:
    """The record that the training run wrote: recipe, seed, versions, losses per epoch, test losses.

    Args:
        latent_dim: one of `pretrained_sizes()`.

    Raises:
        ValueError: no weights of that size ship.
    """
    _check_size(latent_dim)
    return json.loads(metrics_path(latent_dim).read_text(encoding="utf-8"))
