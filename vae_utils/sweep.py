"""Trains the models that ship: every latent size with every seed, and with --denoisers the models that learn
to remove noise. A run that is finished is not repeated.

Each run writes its weights and a record into a folder of its own, which appears whole or not at all.
"""

from __future__ import annotations

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

from vae_utils import pretrained

ROOT = Path(__file__).parent.parent
SHIPPED_SEED = 0
DRAWS = 10  # draws of z per test image
BOUND_K = 100  # draws in the importance-weighted bound
COLUMNS = (
    "latent_dim", "seed", "epochs", "train_images", "parameters", "test_loss", "test_reconstruction_loss",
    "test_kl_loss", "importance_weighted_bound", "importance_samples", "active_units", "seconds", "recipe",
)  # fmt: skip


# What a denoiser is trained on and measured at.
LOWEST_NOISE, HIGHEST_NOISE = 0.3, 0.7
MEASURED_NOISE, MEASURED_DIGITS = 0.5, 1000


@dataclass(frozen=True)
class Run:
    """One training: of a VAE, `model` being its latent size, or of a denoiser, a key of `pretrained.DENOISERS`."""

    model: int | str
    seed: int
    epochs: int = pretrained.EPOCHS
    limit: int | None = None

    @property
    def is_denoiser(self) -> bool:
        return isinstance(self.model, str)

    @property
    def name(self) -> str:
        """Its folder."""
        model = self.model if self.is_denoiser else f"L{self.model}"
        part = f"_N{self.limit}" if self.limit else ""
        return f"{model}_E{self.epochs}_S{self.seed}{part}"

    @property
    def choice(self) -> list[str]:
        """The options that choose it."""
        return ["--denoisers" if self.is_denoiser else "--sizes", str(self.model)]


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the run's folder stands."""
    return (folder / run.name / "metrics.json").is_file()


def train_one(run: Run, folder: Path) -> dict[str, Any]:
    """Train, measure on the test digits, and write `folder/run.name` in one move.

    Returns:
        the record.
    """
    from vae_utils import training
    from vae_utils.backend import keras
    from vae_utils.data import load_mnist, pixel_log_odds, split_validation
    from vae_utils.metrics import active_units, importance_weighted_bound, kl_per_dimension, negative_elbo
    from vae_utils.models import VAE, build_decoder, build_encoder

    (x, _), (x_test, _) = load_mnist(limit=run.limit)
    x_train, x_validation = split_validation(x)
    keras.utils.set_random_seed(run.seed)
    decoder = build_decoder(run.model, pixel_log_odds(x_train))
    vae = VAE(build_encoder(run.model), decoder, seed=run.seed)
    log = training.train(vae, x_train, x_validation, epochs=run.epochs, seed=run.seed, live=False)
    if log.interrupted:
        raise KeyboardInterrupt
    test = negative_elbo(vae, x_test, draws=DRAWS)
    record = {
        "latent_dim": run.model,
        "seed": run.seed,
        "epochs": run.epochs,
        "train_images": len(x_train),
        "parameters": int(vae.encoder.count_params() + vae.decoder.count_params()),
        "test_loss": test["loss"],
        "test_reconstruction_loss": test["reconstruction_loss"],
        "test_kl_loss": test["kl_loss"],
        "importance_weighted_bound": importance_weighted_bound(vae, x_test, k=BOUND_K),
        "importance_samples": BOUND_K,
        "active_units": int(active_units(vae, x_test).sum()),
        "seconds": log.seconds,
        "recipe": training.describe_recipe(),
        "kl_per_dimension": [float(value) for value in kl_per_dimension(vae, x_test)],
        "history": {"train": log.train, "validation": log.validation},
        "versions": versions(),
        "command": command_line(run),
    }
    write_run(folder / run.name, record, VAE(vae.encoder, vae.decoder, seed=run.seed), "vae.weights.h5")
    return record


def fresh_noise(x: Any, seed: Any) -> Any:
    """Gaussian noise of a level drawn for each image between `LOWEST_NOISE` and `HIGHEST_NOISE`, clipped to [0, 1].

    Args:
        x: tensor `(batch, 28, 28, 1)` in [0, 1].
        seed: two ints; the same seed gives the same noise.

    Returns:
        a tensor of the same shape.
    """
    import tensorflow as tf

    level_seed, noise_seed = tf.unstack(tf.random.split(seed, 2))
    level = tf.random.stateless_uniform((tf.shape(x)[0], 1, 1, 1), level_seed, LOWEST_NOISE, HIGHEST_NOISE)
    return tf.clip_by_value(x + level * tf.random.stateless_normal(tf.shape(x), noise_seed), 0.0, 1.0)


def train_denoiser(run: Run, folder: Path) -> dict[str, Any]:
    """Train a denoiser, fresh noise in every epoch, measure it, and write `folder/run.name` in one move.

    Returns:
        the record.
    """
    from vae_utils import training
    from vae_utils.backend import keras
    from vae_utils.data import load_mnist, pixel_log_odds, split_validation

    (x, _), (x_test, _) = load_mnist(limit=run.limit)
    x_train, x_validation = split_validation(x)
    keras.utils.set_random_seed(run.seed)
    denoiser = pretrained.build_denoiser(run.model, pixel_log_odds(x_train), run.seed)
    log = training.train(
        denoiser.model,
        x_train,
        keras.ops.convert_to_numpy(fresh_noise(x_validation, [run.seed, 2])),  # noise of its own, the same every epoch
        y_validation=x_validation,
        corrupt=fresh_noise,
        epochs=run.epochs,
        seed=run.seed,
        live=False,
    )
    if log.interrupted:
        raise KeyboardInterrupt
    noise = f"Gaussian noise, level {LOWEST_NOISE} to {HIGHEST_NOISE} per image, new every epoch; clean target"
    record = {
        "denoiser": run.model,
        "latent_dim": pretrained.DENOISERS[run.model],
        "seed": run.seed,
        "epochs": run.epochs,
        "train_images": len(x_train),
        "parameters": int(denoiser.model.encoder.count_params() + denoiser.model.decoder.count_params()),
        **measure_denoiser(denoiser, x_test),
        "seconds": log.seconds,
        "recipe": training.describe_recipe().replace("Bernoulli input, beta 1", noise),
        "history": {"train": log.train, "validation": log.validation},
        "versions": versions(),
        "command": command_line(run),
    }
    shipped = pretrained.build_denoiser(run.model, seed=run.seed).model
    shipped.set_weights(denoiser.model.get_weights())
    write_run(folder / run.name, record, shipped, "denoiser.weights.h5")
    return record


def measure_denoiser(denoiser: pretrained.Denoiser, x_test: np.ndarray) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of a denoiser on the first thousand test digits, at noise level 0.5."""
    from vae_utils.data import add_gaussian_noise
    from vae_utils.metrics import psnr, ssim

    x = x_test[:MEASURED_DIGITS]
    noisy = add_gaussian_noise(x, MEASURED_NOISE, np.random.default_rng(0))
    x_recon = denoiser.reconstruct(noisy)
    return {
        "noise_level": MEASURED_NOISE,
        "psnr": float(psnr(x, x_recon).mean()),
        "ssim": float(ssim(x, x_recon).mean()),
        "psnr_of_the_noisy_digits": float(psnr(x, noisy).mean()),
        "ssim_of_the_noisy_digits": float(ssim(x, noisy).mean()),
    }


def command_line(run: Run) -> str:
    """What to type to repeat it."""
    return f"python3 run.py sweep {' '.join(run.choice)} --seeds {run.seed} --epochs {run.epochs}"


def versions() -> dict[str, str]:
    """Versions of what trained."""
    from vae_utils.backend import keras

    return {"python": platform.python_version(), "keras": keras.version(), "backend": backend_version()}


def backend_version() -> str:
    """Name and version of Keras' backend."""
    from vae_utils.backend import keras

    name = keras.backend.backend()
    return f"{name} {__import__(name).__version__}"


def write_run(target: Path, record: dict[str, Any], model: Any, weights: str) -> None:
    """Weights and record, first in a folder beside `target`, then renamed to it.

    `model` is not compiled: the optimizer's state would triple the file.
    """
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    model.save_weights(unfinished / weights)
    (unfinished / "metrics.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.rename(target)


def finished_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of all finished runs of VAEs in `folder`, by the run's name."""
    paths = folder.glob("L*_E*_S*/metrics.json")
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def write_csv(records: Iterable[dict[str, Any]], path: Path) -> None:
    """One row per record, sorted by size and seed."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in sorted(records, key=lambda record: (record["latent_dim"], record["seed"], record["epochs"])):
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in record.items()})
    unfinished.replace(path)


def finished_sources(models: list[int] | list[str], folder: Path) -> dict[int | str, Path]:
    """The folders of the runs that ship, by model; exits if one is missing, before anything is copied."""
    runs = {model: Run(model, SHIPPED_SEED) for model in models}
    for run in runs.values():
        if not is_finished(run, folder):
            raise SystemExit(f"{folder / run.name} is not finished: run the sweep with {' '.join(run.choice)} first.")
    return {model: folder / run.name for model, run in runs.items()}


def ship(folder: Path, sizes: list[int]) -> None:
    """Copy the weights of one seed per size into the package, and the rows of all seeds of these sizes.

    Rows of the package's table whose runs are not in `folder` stay.
    """
    for latent_dim, source in finished_sources(sizes, folder).items():
        shutil.copyfile(source / "vae.weights.h5", pretrained.weights_path(latent_dim))
        shutil.copyfile(source / "metrics.json", pretrained.metrics_path(latent_dim))
    table = pretrained.sweep_table_path()
    rows = {(row["latent_dim"], row["seed"]): row for row in (pretrained.sweep_records() if table.exists() else [])}
    for name, record in finished_records(folder).items():
        if record["latent_dim"] in sizes and name == Run(record["latent_dim"], record["seed"]).name:
            rows[record["latent_dim"], record["seed"]] = record
    write_csv(rows.values(), table)
    print(f"Shipped sizes {sizes}; {len(rows)} runs in {table.name}.")


def ship_denoisers(folder: Path, names: list[str]) -> None:
    """Copy the weights and records of the denoisers into the package."""
    for name, source in finished_sources(names, folder).items():
        shutil.copyfile(source / "denoiser.weights.h5", pretrained.denoiser_weights_path(name))
        shutil.copyfile(source / "metrics.json", pretrained.denoiser_metrics_path(name))
    print(f"Shipped {', '.join(names)}.")


def train_in_own_process(run: Run, folder: Path, threads: int) -> None:
    """The run in a fresh interpreter, its lines prefixed with the run's name."""
    command = [sys.executable, "-m", "vae_utils.sweep", "--out", str(folder), "--epochs", str(run.epochs)]
    command += [*run.choice, "--seeds", str(run.seed), "--in-this-process"]
    command += ["--limit", str(run.limit)] if run.limit else []
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        tail = []
        for line in process.stdout:
            tail = [*tail[-9:], line]
            if line.startswith("epoch"):
                print(f"{run.name}  {line}", end="", flush=True)
    if process.returncode != 0:
        raise RuntimeError(f"{run.name} failed:\n{''.join(tail)}")


def sweep(runs: list[Run], folder: Path, jobs: int) -> None:
    """Train what is not finished, `jobs` at a time, and keep the table in `folder` up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [run for run in runs if not is_finished(run, folder)]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already.", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    started, done = time.perf_counter(), 0
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train_in_own_process, run, folder, threads): run for run in waiting}
        try:
            for future, run in futures.items():
                future.result()
                done += 1
                left = (time.perf_counter() - started) / done * (len(waiting) - done) / 60
                print(f"{run.name} finished; {done} of {len(waiting)}, about {left:.0f} minutes left.", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            if not runs[0].is_denoiser:  # the table is about the VAEs
                write_csv(finished_records(folder).values(), folder / "sweep.csv")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py sweep", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(2, 11)), help="latent sizes (2 to 10)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds (0 1 2; 0 for denoisers)")
    parser.add_argument(
        "--denoisers",
        nargs="*",
        choices=list(pretrained.DENOISERS),
        metavar="NAME",
        help=f"train denoisers instead: {', '.join(pretrained.DENOISERS)} (all, if none is named)",
    )
    parser.add_argument("--epochs", type=int, default=pretrained.EPOCHS, help="epochs per run (30)")
    parser.add_argument("--limit", type=int, help="train and test on this many digits only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (one per core)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="folder of the runs (runs/)")
    parser.add_argument("--ship", action="store_true", help="put the finished runs' weights into the package")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("epochs", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if min(options.sizes) < 1:
        parser.error("--sizes must be at least 1")
    denoisers = options.denoisers or list(pretrained.DENOISERS)
    seeds = options.seeds or ([0, 1, 2] if options.denoisers is None else [SHIPPED_SEED])
    budget = (options.epochs, options.limit)
    chosen = options.sizes if options.denoisers is None else denoisers
    runs = [Run(model, seed, *budget) for seed in seeds for model in chosen]
    if options.ship and options.denoisers is not None:
        ship_denoisers(options.out, denoisers)
    elif options.ship:
        ship(options.out, options.sizes)
    elif options.in_this_process:
        for run in runs:
            (train_denoiser if run.is_denoiser else train_one)(run, options.out)
    else:
        sweep(runs, options.out, options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
