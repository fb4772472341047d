"""The sweep trains for real on a tiny budget, stops and continues, and leaves nothing half-written."""

import csv
import json

import numpy as np
import pytest

from vae_utils import load_mnist, pretrained, sweep, training

TINY = ["--sizes", "2", "3", "--seeds", "0", "--epochs", "1", "--limit", "300", "--jobs", "1"]


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def interrupt_after_one(monkeypatch):
    """The second training of all is interrupted, once; returns the list that the names of finished ones go to."""
    trained, interrupted = [], []
    real = sweep.train_in_own_process

    def train(run, folder, threads):
        if trained and not interrupted:
            interrupted.append(run.name)
            (folder / (run.name + ".unfinished")).mkdir()
            raise KeyboardInterrupt
        real(run, folder, threads)
        trained.append(run.name)

    monkeypatch.setattr(sweep, "train_in_own_process", train)
    return trained


def test_a_sweep_continues_where_it_stopped(tmp_path, monkeypatch, capsys):
    trained = interrupt_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        sweep.main([*TINY, "--out", str(tmp_path)])
    assert [row["latent_dim"] for row in read_csv(tmp_path / "sweep.csv")] == ["2"]
    first = (tmp_path / "L2_E1_S0_N300" / "metrics.json").read_bytes()

    sweep.main([*TINY, "--out", str(tmp_path)])
    assert trained == ["L2_E1_S0_N300", "L3_E1_S0_N300"]
    assert (tmp_path / "L2_E1_S0_N300" / "metrics.json").read_bytes() == first
    rows = read_csv(tmp_path / "sweep.csv")
    assert [row["latent_dim"] for row in rows] == ["2", "3"]
    assert all(100 < float(row["test_loss"]) < 400 and row["importance_samples"] == "100" for row in rows)
    assert not list(tmp_path.glob("*.unfinished"))
    out = capsys.readouterr().out
    assert "1 of 2 runs are finished already" in out and "minutes left" in out and "epoch  1/1" in out

    record = json.loads((tmp_path / "L3_E1_S0_N300" / "metrics.json").read_text())
    assert record["seed"] == 0 and len(record["kl_per_dimension"]) == 3 and "Muon" in record["recipe"]


def finish(folder, name, **record):
    """A finished run that nobody trained."""
    (folder / name).mkdir(parents=True)
    (folder / name / "vae.weights.h5").write_text(f"weights of {name}")
    (folder / name / "metrics.json").write_text(json.dumps(record))


def test_shipping_copies_weights_and_keeps_the_rows_of_other_runs(tmp_path, monkeypatch):
    runs, shelf = tmp_path / "runs", tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", shelf)
    finish(runs, "L2_E30_S0", latent_dim=2, seed=0, epochs=30, test_loss=137.0)
    finish(runs, "L3_E30_S0", latent_dim=3, seed=0, epochs=30, test_loss=126.0)
    finish(runs, "L3_E30_S1", latent_dim=3, seed=1, epochs=30, test_loss=125.0)
    finish(runs, "L3_E1_S0_N300", latent_dim=3, seed=0, epochs=1, test_loss=250.0)
    sweep.main(["--sizes", "2", "--ship", "--out", str(runs)])
    assert pretrained.weights_path(2).read_text() == "weights of L2_E30_S0" and not pretrained.weights_path(3).exists()
    assert [row["test_loss"] for row in read_csv(shelf / "sweep.csv")] == ["137.0000"]

    sweep.main(["--sizes", "3", "--ship", "--out", str(runs)])
    assert pretrained.weights_path(3).read_text() == "weights of L3_E30_S0"
    assert [(r["latent_dim"], r["seed"], r["test_loss"]) for r in pretrained.sweep_records()] == [
        (2, 0, 137.0), (3, 0, 126.0), (3, 1, 125.0)
    ]  # fmt: skip


def test_nothing_ships_if_a_run_is_missing(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", shelf)
    finish(tmp_path / "runs", "L2_E30_S0", latent_dim=2, seed=0, epochs=30, test_loss=137.0)
    with pytest.raises(SystemExit, match="run the sweep with --sizes 3 first"):
        sweep.main(["--sizes", "2", "3", "--ship", "--out", str(tmp_path / "runs")])
    assert not list(shelf.iterdir())


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--jobs", "0"], ["--sizes", "0"], ["--sizes", "two"], ["--denoisers", "median"]]
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        sweep.main(arguments)
    assert arguments[0] in capsys.readouterr().err


TINY_DENOISERS = ["--denoisers", "denoising_vae_L2", "denoising_autoencoder", "--epochs", "1", "--limit", "300"]


def test_denoisers_train_continue_where_they_stopped_and_ship(tmp_path, monkeypatch, capsys):
    runs, shelf = tmp_path / "runs", tmp_path / "shelf"
    shelf.mkdir()
    trained = interrupt_after_one(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        sweep.main([*TINY_DENOISERS, "--jobs", "1", "--out", str(runs)])
    sweep.main([*TINY_DENOISERS, "--jobs", "1", "--out", str(runs)])
    assert trained == ["denoising_vae_L2_E1_S0_N300", "denoising_autoencoder_E1_S0_N300"]
    assert not list(runs.glob("*.unfinished")) and not (runs / "sweep.csv").exists()
    assert "1 of 2 runs are finished already" in capsys.readouterr().out

    record = json.loads((runs / trained[1] / "metrics.json").read_text(encoding="utf-8"))
    assert record["history"]["validation"]["kl_loss"] == [0.0] and record["latent_dim"] is None
    assert "level 0.3 to 0.7" in record["recipe"] and "Bernoulli" not in record["recipe"] and "Muon" in record["recipe"]
    assert record["psnr_of_the_noisy_digits"] == pytest.approx(9.4, abs=0.1)

    with pytest.raises(SystemExit, match="--denoisers denoising_vae_L2 first"):
        sweep.main(["--denoisers", "denoising_vae_L2", "--ship", "--out", str(runs)])
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", shelf)
    for name in trained:
        (runs / name).rename(runs / name.replace("_E1_S0_N300", "_E30_S0"))
    sweep.main([*TINY_DENOISERS[:3], "--ship", "--out", str(runs)])
    assert pretrained.denoiser_names() == ["denoising_vae_L2", "denoising_autoencoder"]
    for name in pretrained.denoiser_names():
        shipped = pretrained.load_denoiser(name)
        (_, _), (x_test, _) = load_mnist(limit=300)
        assert sweep.measure_denoiser(shipped, x_test)["psnr"] == pytest.approx(
            pretrained.denoiser_metrics(name)["psnr"], abs=1e-3
        )


def test_fresh_noise_has_the_levels_it_says_and_repeats():
    grey = np.full((400, 28, 28, 1), 0.5, dtype="float32")
    noisy = np.array(sweep.fresh_noise(grey, [0, 1]))
    level = np.array([np.quantile(image, 0.6915) - 0.5 for image in noisy]) * 2  # the quantile of half a sigma
    assert 0.2 < level.min() < 0.36 and 0.64 < level.max() < 0.9 and level.mean() == pytest.approx(0.5, abs=0.02)
    assert noisy.min() == 0 and noisy.max() == 1
    np.testing.assert_array_equal(noisy, np.array(sweep.fresh_noise(grey, [0, 1])))
    assert not np.array_equal(noisy, np.array(sweep.fresh_noise(grey, [0, 2])))


def test_a_denoiser_reads_noise_and_is_told_the_clean_digit(digits):
    """The input is the noisy array and the target the clean one; the noise is new in every epoch."""
    x = np.repeat(digits[0][:1], 128, axis=0)
    batches = training.shuffled_batches(x, batch_size=64, corrupt=sweep.fresh_noise)
    again = training.shuffled_batches(x, batch_size=64, corrupt=sweep.fresh_noise)
    seen = set()
    for (noisy, clean), (noisy_again, _) in zip(batches.take(4), again.take(4), strict=True):
        np.testing.assert_array_equal(clean, x[:64])
        np.testing.assert_array_equal(noisy, noisy_again)
        assert 0.2 < np.sqrt(np.mean((noisy - clean) ** 2)) < 0.5
        seen |= {image.tobytes() for image in noisy.numpy()}
    assert len(seen) == 4 * 64


def test_a_wrong_corruption_stops_before_the_first_step(digits, vae):
    x = digits[0]
    with pytest.raises(ValueError, match="clean images as y_validation"):
        training.train(vae, x, x[:5], corrupt=sweep.fresh_noise, live=False)
    with pytest.raises(ValueError, match="what corrupt returns must lie in"):
        training.train(vae, x, x[:5], y_validation=x[:5], corrupt=lambda batch, seed: batch + 1, live=False)


def test_two_denoiser_trainings_with_one_seed_agree(digits):
    from vae_utils.backend import keras

    x = digits[0][:512]
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = pretrained.build_denoiser("denoising_autoencoder").model
        training.train(model, x, x[:9], y_validation=x[:9], corrupt=sweep.fresh_noise, epochs=1, live=False)
        weights.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
