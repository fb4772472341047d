"""Trains the models that ship; a run that is finished is not repeated.

A run is one model with one seed: a VAE ("vae_L2" to "vae_L10"), its second encoder that learns to denoise with the
decoder frozen ("vae_L2_denoising_encoder", after the VAE of the same seed), a denoising autoencoder, or a model for
colour emoji (`tools.colour`). Each writes its weights and its record into a folder of its own, which appears whole or
not at all.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools import colour
from vae_utils import data, metrics, pretrained, training, vae
from vae_utils.backend import keras

ROOT = Path(__file__).parent.parent
SEEDS = (0, 1, 2)
SHIPPED_SEED = 0
DRAWS = 10  # draws of z per test image
BOUND_K = 100  # draws in the importance-weighted bound
DENOISING_EPOCHS = 10  # of a second encoder, which starts as a copy of the first
NOISE_LEVEL, SALT_AND_PEPPER = 0.5, 0.2  # what denoising is measured at
NOISE = training.GaussianNoise(lowest=0.1, highest=0.8, share=0.7)
WEIGHTS, RECORD = "model.weights.h5", "record.json"
COLUMNS = (
    "latent_dim", "seed", "epochs", "train_images", "parameters", "test_loss", "test_reconstruction_loss",
    "test_kl_loss", "importance_weighted_bound", "importance_samples", "active_units", "seconds",
)  # fmt: skip

VAES = [pretrained.name_model(size) for size in pretrained.SIZES]
DENOISING_ENCODERS = [pretrained.name_model(size, denoising=True) for size in pretrained.SIZES]
MODELS = [*VAES, *DENOISING_ENCODERS, *pretrained.DENOISERS, *pretrained.COLOUR_MODELS]


@dataclass(frozen=True)
class Run:
    """One training: a shipped model's name, a seed, epochs (the model's own number if None), digits (all if None)."""

    model: str
    seed: int
    chosen_epochs: int | None = None
    limit: int | None = None

    @property
    def epochs(self) -> int:
        """How long it trains."""
        usual = DENOISING_EPOCHS if self.model in DENOISING_ENCODERS else pretrained.EPOCHS
        return self.chosen_epochs or colour.EPOCHS.get(self.model, usual)

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.model}_E{self.epochs}_S{self.seed}" + (f"_N{self.limit}" if self.limit else "")

    @property
    def latent_dim(self) -> int | None:
        """The size in the model's name; None for what is no VAE for digits."""
        return int(self.model.split("_")[1][1:]) if self.model.startswith("vae_L") else None

    @property
    def denoises(self) -> bool:
        """Whether it learns from noisy digits."""
        return self.model not in VAES

    @property
    def needs(self) -> "Run | None":
        """The run that has to be finished before: the VAE whose decoder a second encoder uses."""
        if self.model not in DENOISING_ENCODERS:
            return None
        return Run(pretrained.name_model(self.latent_dim), self.seed, self.chosen_epochs, self.limit)

    @property
    def options(self) -> list[str]:
        """What chooses this run on the command line."""
        chosen = {"--epochs": self.chosen_epochs, "--limit": self.limit}
        numbers = [text for name, value in chosen.items() if value for text in (name, str(value))]
        return ["--models", self.model, "--seeds", str(self.seed), *numbers]

    @property
    def command(self) -> str:
        """What to type to repeat it."""
        return " ".join(["python3 run.py sweep", *self.options])


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the run's folder stands."""
    return (folder / run.name / RECORD).is_file()


def build_model(run: Run, folder: Path, log_odds: np.ndarray | None) -> tuple[keras.Model, keras.Model]:
    """The model to train, and the part of it whose weights are kept."""
    if run.latent_dim is None:
        model = pretrained.DENOISERS[run.model](log_odds=log_odds)
        return model, model
    encoder = vae.build_encoder(run.latent_dim)
    model = vae.VAE(encoder, vae.build_decoder(run.latent_dim, log_odds=log_odds))
    if run.needs is None:
        return model, model
    model.load_weights(folder / run.needs.name / WEIGHTS)  # the second encoder starts as a copy of the first
    model.decoder.trainable = False
    return model, encoder


def train_one(run: Run, folder: Path) -> dict[str, Any]:
    """Train, measure on held-out images, write `folder/run.name` in one move, and return the record."""
    if run.model in pretrained.COLOUR_MODELS:
        kept, log, measured = colour.train_colour_model(run.model, run.seed, run.epochs, run.limit)
    else:
        kept, log, measured = train_digit_model(run, folder)
    if log.interrupted:
        raise KeyboardInterrupt
    record = {
        "model": run.model,
        "latent_dim": run.latent_dim,
        "seed": run.seed,
        "epochs": run.epochs,
        "train_images": log.recipe["train_images"],
        "parameters": int(kept.count_params()),
        **measured,
        "seconds": log.seconds,
        "recipe": log.recipe,
        "history": {"train": log.train, "validation": log.validation},
        "versions": describe_versions(),
        "command": run.command,
    }
    write_run(folder / run.name, record, kept)
    return record


def train_digit_model(run: Run, folder: Path) -> tuple[keras.Model, training.TrainingLog, dict[str, Any]]:
    """The trained part that is kept, the log of its training, and what was measured on the test digits."""
    (x, _), (x_test, _) = data.load_mnist(limit=run.limit)
    x_train, x_validation = data.split_validation(x)
    keras.utils.set_random_seed(run.seed)
    model, kept = build_model(run, folder, data.pixel_log_odds(x_train))
    corrupt = NOISE if run.denoises else training.BernoulliDraws()
    noisy = keras.ops.convert_to_numpy(NOISE(x_validation, [run.seed, 2])) if run.denoises else None
    log = training.train(
        model,
        x_train,
        x_validation if noisy is None else noisy,
        y_validation=None if noisy is None else x_validation,
        epochs=run.epochs,
        seed=run.seed,
        corrupt=corrupt,
        live=False,
    )
    if log.interrupted:
        return kept, log, {}
    return kept, log, measure_denoising(model, x_test) if run.denoises else measure_vae(model, x_test)


def measure_vae(model: vae.VAE, x_test: np.ndarray) -> dict[str, Any]:
    """Test loss and its terms, importance-weighted bound, active units, KL divergence per dimension."""
    test = metrics.negative_elbo(model, x_test, draws=DRAWS)
    return {
        **{f"test_{name}": value for name, value in test.items()},
        "importance_weighted_bound": metrics.importance_weighted_bound(model, x_test, k=BOUND_K),
        "importance_samples": BOUND_K,
        "active_units": int(metrics.active_units(model, x_test).sum()),
        "kl_per_dimension": [float(value) for value in metrics.kl_per_dimension(model, x_test)],
    }


def measure_denoising(model: Any, x_test: np.ndarray) -> dict[str, float]:
    """Mean PSNR in dB and SSIM over the test digits, clean, with Gaussian noise and with salt-and-pepper noise."""
    inputs = {
        "clean": x_test,
        f"gaussian_{NOISE_LEVEL}": data.add_gaussian_noise(x_test, NOISE_LEVEL, np.random.default_rng(0)),
        f"salt_and_pepper_{SALT_AND_PEPPER}": data.add_salt_and_pepper(
            x_test, SALT_AND_PEPPER, np.random.default_rng(0)
        ),
    }
    measured = {}
    for name, x in inputs.items():
        for kind, images in (("input", x), ("denoised", model.reconstruct(x))):
            with np.errstate(all="ignore"):
                measured[f"psnr_{kind}_{name}"] = float(metrics.psnr(x_test, images).mean())
            measured[f"ssim_{kind}_{name}"] = float(metrics.ssim(x_test, images).mean())
    return {name: value for name, value in measured.items() if np.isfinite(value)}  # clean inputs: infinite


def describe_versions() -> dict[str, str]:
    """Versions of what trained."""
    import tensorflow as tf

    return {"python": platform.python_version(), "keras": keras.version(), "tensorflow": tf.__version__}


def write_run(target: Path, record: dict[str, Any], kept: keras.Model) -> None:
    """Weights and record, first in a folder beside `target`, then renamed to it."""
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    kept.optimizer = None  # its state would triple the file
    kept.save_weights(unfinished / WEIGHTS)
    (unfinished / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.rename(target)


def write_table(records: Iterable[dict[str, Any]], path: Path) -> None:
    """One row per VAE, sorted by size and seed."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in sorted(records, key=lambda record: (record["latent_dim"], record["seed"])):
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in record.items()})
    unfinished.replace(path)


def ship(folder: Path, models: list[str]) -> None:
    """Copy weights and records of the shipped seed into the package, and the table's rows of all seeds.

    Rows of the package's table whose runs are not in `folder` stay. Exits, before anything is copied, if a run is
    missing or a second encoder was not trained with the VAE that ships.
    """
    runs = {model: Run(model, SHIPPED_SEED) for model in models}
    for run in runs.values():
        if not is_finished(run, folder):
            raise SystemExit(f"{folder / run.name} is not finished: train it first with `{run.command}`.")
        if run.needs and run.needs.model not in runs:
            own, shipped = folder / run.needs.name / WEIGHTS, pretrained.weights_path(run.needs.model)
            if not (own.is_file() and shipped.is_file() and own.read_bytes() == shipped.read_bytes()):
                raise SystemExit(f"{run.model} was trained with another {run.needs.model} than the one that ships.")
    for model, run in runs.items():
        shutil.copyfile(folder / run.name / WEIGHTS, pretrained.weights_path(model))
        shutil.copyfile(folder / run.name / RECORD, pretrained.ASSETS / f"{model}.json")
    table = pretrained.SWEEP_TABLE
    rows = {(row["latent_dim"], row["seed"]): row for row in (pretrained.load_sweep_table() if table.exists() else [])}
    for run in (Run(model, seed) for model in models if model in VAES for seed in SEEDS):
        if is_finished(run, folder):
            rows[run.latent_dim, run.seed] = json.loads((folder / run.name / RECORD).read_text(encoding="utf-8"))
    write_table(rows.values(), table)
    print(f"Shipped {', '.join(models)}; {len(rows)} runs in {table.name}.")


def train_in_own_process(run: Run, folder: Path, threads: int) -> None:
    """The run in a fresh interpreter, its lines prefixed with the run's name."""
    command = [sys.executable, "-m", "tools.sweep", *run.options, "--out", str(folder), "--in-this-process"]
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:
        tail = []
        for line in process.stdout:
            tail = [*tail[-9:], line]
            if line.startswith("epoch"):
                print(f"{run.name}  {line}", end="", flush=True)
    if process.returncode != 0:
        raise RuntimeError(f"{run.name} failed:\n{''.join(tail)}")


def sweep(runs: list[Run], folder: Path, jobs: int) -> None:
    """Train what is not finished, `jobs` runs at a time, what others need first."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [run for run in runs if not is_finished(run, folder)]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already.", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    started, done = time.perf_counter(), 0
    for stage in ([run for run in waiting if run.needs is None], [run for run in waiting if run.needs]):
        for run in stage:
            if run.needs and not is_finished(run.needs, folder):
                raise SystemExit(f"{run.name} needs {run.needs.name}: train that first with `{run.needs.command}`.")
        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(train_in_own_process, run, folder, threads): run for run in stage}
            try:
                for future, run in futures.items():
                    future.result()
                    done += 1
                    left = (time.perf_counter() - started) / done * (len(waiting) - done) / 60
                    print(f"{run.name} finished; {done} of {len(waiting)}, about {left:.0f} minutes left.", flush=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def choose_runs(models: list[str] | None, seeds: list[int] | None, epochs: int | None, limit: int | None) -> list[Run]:
    """All seeds for VAEs, the shipped seed for what denoises, unless `seeds` says otherwise."""
    runs = [Run(model, seed, epochs, limit) for seed in seeds or SEEDS for model in models or MODELS]
    return [run for run in runs if seeds or not run.denoises or run.seed == SHIPPED_SEED]


def main(arguments: list[str]) -> int:
    """The command line of `python3 run.py sweep`."""
    parser = argparse.ArgumentParser(prog="run.py sweep", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME", help=f"{', '.join(MODELS)} (all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds (0 1 2 for VAEs, 0 for what denoises)")
    parser.add_argument("--epochs", type=int, help="epochs per run (30; 10 for a second encoder; 16 or 24 on emoji)")
    parser.add_argument("--limit", type=int, help="train and test on this many images only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (one per core)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="folder of the runs (runs/)")
    parser.add_argument("--ship", action="store_true", help="copy the finished runs' weights into the package")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("epochs", "jobs", "limit"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    runs = choose_runs(options.models, options.seeds, options.epochs, options.limit)
    if options.ship:
        ship(options.out, options.models or MODELS)
    elif options.in_this_process:
        for run in runs:
            train_one(run, options.out)
    else:
        sweep(runs, options.out.resolve(), options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
