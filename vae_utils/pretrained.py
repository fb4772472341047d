"""The shelf: the models that ship with the course, and what their training measured.

The VAEs, one per latent size, are made by `python3 run.py sweep` and `sweep --ship`, the denoisers by the same two
with `--denoisers`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS_DIR = Path(__file__).parent / "assets"
EPOCHS = 30

# Trained on noisy digits with the clean ones as targets: name -> latent size, None where there is no Gaussian code.
DENOISERS = {"denoising_vae_L2": 2, "denoising_vae_L10": 10, "denoising_autoencoder": None}


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
    _load_weights(vae, weights_path(latent_dim))
    return vae


def _load_weights(model: Any, path: Path) -> None:
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The weights {path} cannot be read ({error}): restore them with `git checkout -- {path.name}` "
            "in their folder or install the package again."
        ) from error


def pretrained_metrics(latent_dim: int) -> dict[str, Any]:
    """The record that the training run wrote: recipe, seed, versions, losses per epoch, test losses.

    Args:
        latent_dim: one of `pretrained_sizes()`.

    Raises:
        ValueError: no weights of that size ship.
    """
    _check_size(latent_dim)
    return json.loads(metrics_path(latent_dim).read_text(encoding="utf-8"))


def sweep_table_path() -> Path:
    """Where the table of all runs is, every latent size with every seed."""
    return WEIGHTS_DIR / "sweep.csv"


def sweep_records() -> list[dict[str, Any]]:
    """One record per run of the sweep, sorted by latent size and seed: what the trainings measured on the test digits.

    Returns:
        dictionaries with `latent_dim`, `seed`, `epochs`, `test_loss`, `test_reconstruction_loss`, `test_kl_loss`,
        `importance_weighted_bound` (nats per image), `importance_samples` (its K), `active_units`, `seconds`,
        `parameters`, `train_images` as numbers, and `recipe` as text.
    """
    with sweep_table_path().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: _number(text) for name, text in row.items()} for row in rows]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def denoiser_weights_path(name: str) -> Path:
    """Where the weights of one denoiser are."""
    return WEIGHTS_DIR / f"{name}_E{EPOCHS}.weights.h5"


def denoiser_metrics_path(name: str) -> Path:
    """Where the record of the training that made them is."""
    return WEIGHTS_DIR / f"{name}_E{EPOCHS}.metrics.json"


def denoiser_names() -> list[str]:
    """The denoisers that ship, in the order of `DENOISERS`."""
    return [name for name in DENOISERS if denoiser_weights_path(name).is_file()]


def _check_name(name: str) -> None:
    names = denoiser_names()
    if name not in names:
        raise ValueError(f"No denoiser {name!r} ships; there are {', '.join(names) or 'none'}.")


@dataclass(frozen=True)
class Denoiser:
    """A trained denoiser: `reconstruct` is what to call, `model` the `VAE` or `DenoisingAutoencoder` behind it."""

    name: str
    model: Any

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """The cleaned images: of a VAE the decoded `z_mean`, so that the same input gives the same answer.

        Args:
            x: `(batch, 28, 28, 1)` in [0, 1], noisy; the batch may be empty.

        Returns:
            the same shape, float32 in [0, 1].

        Raises:
            ValueError: wrong shape, NaN, or pixels outside [0, 1].
        """
        if DENOISERS[self.name] is None:
            return self.model.reconstruct(x)
        z_mean, _ = self.model.encode(x)
        return self.model.decode(z_mean)


def build_denoiser(name: str, log_odds: np.ndarray | None = None, seed: int = 0) -> Denoiser:
    """One of the `DENOISERS`, untrained.

    Args:
        name: a key of `DENOISERS`.
        log_odds: `(28, 28, 1)` first value of the pixel bias, see `models.build_decoder`.
        seed: seed of a VAE's sampler; set Keras' own seed before, for the weights.

    Raises:
        ValueError: there is no such denoiser; the message names those there are.
    """
    from vae_utils.models import VAE, build_decoder, build_denoising_autoencoder, build_encoder

    if name not in DENOISERS:
        raise ValueError(f"There is no denoiser {name!r}; choose one of {', '.join(DENOISERS)}.")
    latent_dim = DENOISERS[name]
    if latent_dim is None:
        return Denoiser(name, build_denoising_autoencoder(log_odds))
    encoder, decoder = build_encoder(latent_dim), build_decoder(latent_dim, log_odds)
    return Denoiser(name, VAE(encoder, decoder, bernoulli_input=False, seed=seed))


def load_denoiser(name: str) -> Denoiser:
    """A denoiser trained for 30 epochs, noisy digits in, clean digits as targets.

    Args:
        name: one of `denoiser_names()`: "denoising_vae_L2", "denoising_vae_L10", "denoising_autoencoder".

    Returns:
        a `Denoiser`; call its `reconstruct(x)`.

    Raises:
        ValueError: no denoiser of that name ships (the message names those that do), or the file is damaged.
    """
    _check_name(name)
    denoiser = build_denoiser(name)
    _load_weights(denoiser.model, denoiser_weights_path(name))
    return denoiser


def denoiser_metrics(name: str) -> dict[str, Any]:
    """The record that the denoiser's training wrote: recipe, seed, versions, losses per epoch, PSNR and SSIM.

    Args:
        name: one of `denoiser_names()`.

    Raises:
        ValueError: no denoiser of that name ships.
    """
    _check_name(name)
    return json.loads(denoiser_metrics_path(name).read_text(encoding="utf-8"))
