"""The sweep trains for real on a tiny budget, stops and continues, and leaves nothing half-written."""

import csv
import json

import pytest

from vae_utils import pretrained, sweep

TINY = ["--sizes", "2", "3", "--seeds", "0", "--epochs", "1", "--limit", "300", "--jobs", "1"]


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_continues_where_it_stopped(tmp_path, monkeypatch, capsys):
    trained = []
    real = sweep.train_in_own_process

    def interrupted_after_one(run, folder, threads):
        if trained:
            (folder / (run.name + ".unfinished")).mkdir()
            raise KeyboardInterrupt
        trained.append(run.name)
        real(run, folder, threads)

    monkeypatch.setattr(sweep, "train_in_own_process", interrupted_after_one)
    with pytest.raises(KeyboardInterrupt):
        sweep.main([*TINY, "--out", str(tmp_path)])
    assert [row["latent_dim"] for row in read_csv(tmp_path / "sweep.csv")] == ["2"]
    first = (tmp_path / "L2_E1_S0_N300" / "metrics.json").read_bytes()

    monkeypatch.setattr(sweep, "train_in_own_process", lambda *a: (trained.append(a[0].name), real(*a)))
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
    assert record["seed"] == 0 and len(record["kl_per_dimension"]) == 3 and "Adam" in record["recipe"]


def test_shipping_copies_weights_and_table(tmp_path, monkeypatch):
    source, shelf = tmp_path / "runs" / "L2_E30_S0", tmp_path / "shelf"
    source.mkdir(parents=True)
    shelf.mkdir()
    (source / "vae.weights.h5").write_bytes(b"weights")
    (source / "metrics.json").write_text(json.dumps({"latent_dim": 2, "seed": 0, "epochs": 30, "test_loss": 137.0}))
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", shelf)
    monkeypatch.setattr(sweep, "CSV_PATH", tmp_path / "sweep.csv")
    sweep.main(["--sizes", "2", "--ship", "--out", str(tmp_path / "runs")])
    assert pretrained.weights_path(2).read_bytes() == b"weights"
    assert read_csv(tmp_path / "sweep.csv")[0]["test_loss"] == "137.0000"
    with pytest.raises(SystemExit, match="run the sweep for latent_dim 3 first"):
        sweep.main(["--sizes", "3", "--ship", "--out", str(tmp_path / "runs")])


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--jobs", "0"], ["--sizes", "0"], ["--sizes", "two"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        sweep.main(arguments)
    assert arguments[0] in capsys.readouterr().err
