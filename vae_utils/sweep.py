"""Trains the models that ship: every latent size with every seed, a run that is finished is not repeated.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_utils import pretrained

ROOT = Path(__file__).parent.parent
CSV_PATH = ROOT / "benchmarks" / "sweep.csv"
SHIPPED_SEED = 0
DRAWS = 10  # draws of z per test image
BOUND_K = 100  # draws in the importance-weighted bound
COLUMNS = (
    "latent_dim", "seed", "epochs", "train_images", "parameters", "test_loss", "test_reconstruction_loss",
    "test_kl_loss", "importance_weighted_bound", "importance_samples", "active_units", "seconds", "recipe",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training of the sweep."""

    latent_dim: int
    seed: int
    epochs: int = pretrained.EPOCHS
    limit: int | None = None

    @property
    def name(self) -> str:
        """Its folder."""
        part = f"_N{self.limit}" if self.limit else ""
        return f"L{self.latent_dim}_E{self.epochs}_S{self.seed}{part}"


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
    decoder = build_decoder(run.latent_dim, pixel_log_odds(x_train))
    vae = VAE(build_encoder(run.latent_dim), decoder, seed=run.seed)
    log = training.train(vae, x_train, x_validation, epochs=run.epochs, seed=run.seed, live=False)
    if log.interrupted:
        raise KeyboardInterrupt
    test = negative_elbo(vae, x_test, draws=DRAWS)
    record = {
        "latent_dim": run.latent_dim,
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
        "versions": {"python": platform.python_version(), "keras": keras.version(), "backend": backend_version()},
        "command": f"python3 run.py sweep --sizes {run.latent_dim} --seeds {run.seed} --epochs {run.epochs}",
    }
    write_run(folder / run.name, record, vae)
    return record


def backend_version() -> str:
    """Name and version of Keras' backend."""
    from vae_utils.backend import keras

    name = keras.backend.backend()
    return f"{name} {__import__(name).__version__}"


def write_run(target: Path, record: dict[str, Any], vae: Any) -> None:
    """Weights and record, first in a folder beside `target`, then renamed to it."""
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    uncompiled = type(vae)(vae.encoder, vae.decoder, seed=vae.seed)  # without the optimizer's state, a third the size
    uncompiled.save_weights(unfinished / "vae.weights.h5")
    (unfinished / "metrics.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.rename(target)


def write_csv(folder: Path, path: Path) -> int:
    """One row per finished run of `folder`, sorted by size and seed; returns how many."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("L*_E*_S*/metrics.json")]
    records.sort(key=lambda record: (record["latent_dim"], record["seed"], record["epochs"]))
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in record.items()})
    unfinished.replace(path)
    return len(records)


def ship(folder: Path, sizes: list[int]) -> None:
    """Copy the weights of one seed per size into the package, and the table to `benchmarks/`."""
    for latent_dim in sizes:
        source = folder / Run(latent_dim, SHIPPED_SEED).name
        if not source.is_dir():
            raise SystemExit(f"{source} is not there: run the sweep for latent_dim {latent_dim} first.")
        shutil.copyfile(source / "vae.weights.h5", pretrained.weights_path(latent_dim))
        shutil.copyfile(source / "metrics.json", pretrained.metrics_path(latent_dim))
    print(f"Shipped sizes {sizes}; {write_csv(folder, CSV_PATH)} runs in {CSV_PATH.name}.")


def train_in_own_process(run: Run, folder: Path, threads: int) -> None:
    """`train_one` in a fresh interpreter, its lines prefixed with the run's name."""
    command = [sys.executable, "-m", "vae_utils.sweep", "--out", str(folder), "--epochs", str(run.epochs)]
    command += ["--sizes", str(run.latent_dim), "--seeds", str(run.seed), "--in-this-process"]
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
            write_csv(folder, folder / "sweep.csv")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py sweep", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(range(2, 11)), help="latent sizes (2 to 10)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds (0 1 2)")
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
    runs = [Run(size, seed, options.epochs, options.limit) for seed in options.seeds for size in options.sizes]
    if options.ship:
        ship(options.out, options.sizes)
    elif options.in_this_process:
        for run in runs:
            train_one(run, options.out)
    else:
        sweep(runs, options.out, options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
