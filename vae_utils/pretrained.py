"""The trained models that ship with the course, each beside the record of the run that made it, loaded by name.

`python3 run.py sweep` trains them, `python3 run.py sweep --ship` copies them here.
"""

import csv
import json
from pathlib import Path
from typing import Any

import keras

from vae_utils import denoisers
from vae_utils.data import ASSETS, read_file
from vae_utils.vae import VAE, build_decoder, build_encoder

EPOCHS = 30
SIZES = tuple(range(2, 11))  # latent dimensions of the VAEs
DENOISERS = {"unet_denoiser": denoisers.build_unet_denoiser, "bottleneck_denoiser": denoisers.build_bottleneck_denoiser}
COLOUR_MODELS = {
    "colouriser": denoisers.build_colouriser,
    "watermark_remover": denoisers.build_watermark_remover,
    "emoji_vae": lambda: VAE(build_encoder(10, (32, 32, 3)), build_decoder(10, (32, 32, 3))),
}
BUILDERS = DENOISERS | COLOUR_MODELS  # the first for digits, the others for emoji
SWEEP_TABLE = ASSETS / "sweep.csv"


def name_model(model: int | str, denoising: bool = False) -> str:
    """The name of a shipped model: "vae_L2" for 2, "vae_L2_denoising_encoder" if `denoising`, a denoiser's as it is.

    Raises ValueError for a model that does not ship; the message names those that do.
    """
    if model in BUILDERS and not denoising:
        return str(model)
    if model not in SIZES or isinstance(model, bool):
        names = ", ".join([*map(str, SIZES), *map(repr, BUILDERS)])
        raise ValueError(f"No model ships for {model!r}; there are {names}.")
    return f"vae_L{model}_denoising_encoder" if denoising else f"vae_L{model}"


def weights_path(name: str) -> Path:
    """Where the weights of a model are."""
    return ASSETS / f"{name}.weights.h5"


def load_pretrained(model: int | str, denoising: bool = False) -> keras.Model:
    """A trained model: for digits the VAE of 2 to 10 latent dimensions, or a denoising autoencoder by its name.

    Args:
        model: number of latent dimensions, "unet_denoiser" or "bottleneck_denoiser"; "colouriser",
            "watermark_remover" or "emoji_vae" (10 dimensions), which are for emoji.
        denoising: the same VAE with its second encoder, which was trained on noisy digits; the decoder is the same.

    Raises:
        ValueError: there is no such model (the message names those there are), or its file is damaged.
    """
    name = name_model(model, denoising)
    if model in BUILDERS:
        return load_weights(BUILDERS[model](), name)
    vae = load_weights(VAE(build_encoder(model), build_decoder(model)), name_model(model))
    return VAE(load_weights(build_encoder(model), name), vae.decoder) if denoising else vae


def load_weights(model: keras.Model, name: str) -> keras.Model:
    """`model` itself with the shipped weights of that name."""
    read_file(weights_path(name), model.load_weights)
    return model


def pretrained_record(model: int | str, denoising: bool = False) -> dict[str, Any]:
    """What the training run wrote: recipe, seed, versions, losses per epoch, test results; arguments as above."""
    path = ASSETS / f"{name_model(model, denoising)}.json"
    return read_file(path, lambda path: json.loads(path.read_text(encoding="utf-8")))


def load_sweep_table() -> list[dict[str, Any]]:
    """One dictionary per VAE that was trained, every size with every seed, sorted: the columns of `assets/sweep.csv`.

    `latent_dim`, `seed`, `epochs`, `train_images`, `parameters`, `test_loss`, `test_reconstruction_loss`,
    `test_kl_loss`, `importance_weighted_bound` (nats per image), `importance_samples` (its K), `active_units`,
    `seconds`.
    """
    with SWEEP_TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(text) if "." in text else int(text) for name, text in row.items()} for row in rows]
