"""The sweep trains for real on a tiny budget, goes on after an interruption, and ships what it made."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tools import sweep
from tools.sweep import RECORD, WEIGHTS, Run
from vae_utils import VAE, build_decoder, build_encoder, load_mnist, load_pretrained, load_sweep_table, pretrained

VAE_RUN = Run("vae_L2", seed=0, chosen_epochs=2, limit=300)
ENCODER_RUN = replace(VAE_RUN, model="vae_L2_denoising_encoder")


def read_record(folder, run):
    return json.loads((folder / run.name / RECORD).read_text(encoding="utf-8"))


def load_run(folder, run):
    """The model of a run from the files it left."""
    vae = VAE(build_encoder(2), build_decoder(2))
    vae.load_weights(folder / VAE_RUN.name / WEIGHTS)
    if run == ENCODER_RUN:
        vae.encoder.load_weights(folder / run.name / WEIGHTS)
    return vae


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny VAE and its second encoder, and what `train` logged of each."""
    folder, logs = tmp_path_factory.mktemp("runs"), {}
    real = sweep.training.train
    with pytest.MonkeyPatch.context() as patch:
        for run in (VAE_RUN, ENCODER_RUN):
            patch.setattr(sweep.training, "train", lambda *a, run=run, **k: logs.setdefault(run.name, real(*a, **k)))
            sweep.train_one(run, folder)
    return folder, logs


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """An empty folder in place of the package's."""
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(pretrained, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(pretrained, "SWEEP_TABLE", tmp_path / "assets" / "sweep.csv")
    return tmp_path / "assets"


@pytest.mark.parametrize("run", [VAE_RUN, ENCODER_RUN], ids=lambda run: run.model)
def test_a_record_is_what_was_run(run, trained):
    folder, logs = trained
    record, log = read_record(folder, run), logs[run.name]
    assert record["recipe"] == log.recipe and record["recipe"]["train_images"] == record["train_images"] == 270
    assert record["history"] == {"train": log.train, "validation": log.validation}
    assert (record["model"], record["seed"], record["epochs"]) == (run.model, 0, 2)
    assert record["command"] == f"python3 run.py sweep --models {run.model} --seeds 0 --epochs 2 --limit 300"
    noisy = "GaussianNoise(lowest=0.1, highest=0.8, share=0.7)"
    assert record["recipe"]["encoder_input"] == ("BernoulliDraws()" if run == VAE_RUN else noisy)
    size = (folder / run.name / WEIGHTS).stat().st_size  # the weights, float32, without the optimizer's state
    assert 4 * record["parameters"] < size < 4.4 * record["parameters"]


@pytest.mark.parametrize("run", [VAE_RUN, ENCODER_RUN], ids=lambda run: run.model)
def test_the_numbers_are_those_of_the_saved_weights(run, trained):
    """For the second encoder, measured with the VAE's decoder as it was before: the training left it as it is."""
    folder, _ = trained
    record, (_, (x_test, _)) = read_record(folder, run), load_mnist(limit=300)
    measure = sweep.measure_vae if run == VAE_RUN else sweep.measure_denoising
    measured = measure(load_run(folder, run), x_test)
    assert len(measured) >= 6
    for name, value in measured.items():
        np.testing.assert_allclose(value, record[name], rtol=1e-4, err_msg=name)


def test_the_second_encoder_learned(trained):
    folder, _ = trained
    first, second = (load_run(folder, run).encoder.get_weights() for run in (VAE_RUN, ENCODER_RUN))
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("model", pretrained.COLOUR_MODELS)
def test_a_model_for_emoji_is_trained_and_measured(model, tmp_path):
    """On a few pictures: the numbers in the record are those of the saved weights."""
    run = Run(model, seed=0, chosen_epochs=1, limit=16)
    record = sweep.train_one(run, tmp_path)
    assert record == read_record(tmp_path, run) and record["recipe"]["epochs"] == 1
    assert record["train_images"] == (96 if model == "watermark_remover" else 32)  # with mirror images and hues
    network = pretrained.COLOUR_MODELS[model]()
    network.load_weights(tmp_path / run.name / WEIGHTS)
    measure = {
        "colouriser": sweep.colour.measure_colouring,
        "watermark_remover": sweep.colour.measure_removal,
        "emoji_vae": sweep.colour.measure_emoji_vae,
    }[model]
    for part, x in zip(("validation", "test"), sweep.colour.load_pictures(16)[1:], strict=True):
        for name, value in measure(network, x).items():
            assert value == pytest.approx(record[f"{part}_{name}"], abs=1e-3), name


def test_no_family_of_emoji_is_in_two_parts():
    parts = sweep.colour.load_pictures()
    assert [len(part) for part in parts] == [2523, 321, 330]
    assert sweep.colour.add_variants(parts[1][:2], 3).shape == (12, 32, 32, 3)


def test_finished_runs_are_not_repeated(trained, capsys):
    folder, _ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    models = ["--models", VAE_RUN.model, ENCODER_RUN.model]
    sweep.main([*models, "--seeds", "0", "--epochs", "2", "--limit", "300", "--out", str(folder)])
    assert "2 of 2 runs are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_second_encoder_waits_for_its_vae(tmp_path):
    with pytest.raises(SystemExit, match="needs vae_L2_E2_S0_N300: train that first with `python3 run"):
        sweep.sweep([ENCODER_RUN], tmp_path, jobs=1)


def test_a_run_is_written_whole_or_not_at_all(trained, tmp_path):
    model, target = load_run(trained[0], VAE_RUN), tmp_path / "run"
    with pytest.raises(TypeError):
        sweep.write_run(target, {"not JSON": object()}, model)
    assert not target.exists()
    sweep.write_run(target, {"loss": 1.0}, model)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in target.iterdir()) == sorted([WEIGHTS, RECORD])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent to a process group")
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, capsys):
    """Ctrl-C in the middle of the second training."""
    first, second = (replace(run, chosen_epochs=6) for run in (VAE_RUN, ENCODER_RUN))
    arguments = ["--models", first.model, second.model, "--seeds", "0", "--limit", "300", "--epochs", "6"]
    arguments += ["--jobs", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "tools.sweep", *arguments]
    with subprocess.Popen(
        command, cwd=sweep.ROOT, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as process:
        for line in process.stdout:
            if line.startswith(f"{second.name}  epoch  2/6"):
                break
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == [first.name] == ["vae_L2_E6_S0_N300"]
    record = (tmp_path / first.name / RECORD).read_bytes()

    sweep.main(arguments)
    out = capsys.readouterr().out
    assert "1 of 2 runs are finished already" in out and "epoch  6/6" in out and "finished; 1 of 1" in out
    assert (tmp_path / first.name / RECORD).read_bytes() == record
    assert len(read_record(tmp_path, second)["history"]["train"]["loss"]) == 6
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_run_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"vae_L2_E2_S0_N100 failed:[\s\S]*do not fill one batch of 256"):
        sweep.sweep([replace(VAE_RUN, limit=100)], tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())


def test_what_is_shipped_is_what_is_loaded(trained, assets, tmp_path, digits):
    folder = tmp_path / "runs"
    for run in (VAE_RUN, ENCODER_RUN):
        whole = Run(run.model, 0)
        (folder / whole.name).mkdir(parents=True)
        for name in (WEIGHTS, RECORD):
            (folder / whole.name / name).write_bytes((trained[0] / run.name / name).read_bytes())
    sweep.main(["--models", VAE_RUN.model, ENCODER_RUN.model, "--ship", "--out", str(folder)])
    for run, denoising in ((VAE_RUN, False), (ENCODER_RUN, True)):
        expected = load_run(trained[0], run).reconstruct(digits[0][:5])
        np.testing.assert_array_equal(load_pretrained(2, denoising).reconstruct(digits[0][:5]), expected)
        assert pretrained.pretrained_record(2, denoising) == read_record(trained[0], run)
    (row,) = load_sweep_table()
    assert {name: pytest.approx(read_record(trained[0], VAE_RUN)[name], abs=1e-4) for name in row} == row


def finish(folder, model, seed, **record):
    """A finished run that nobody trained."""
    target = folder / Run(model, seed).name
    target.mkdir(parents=True)
    (target / WEIGHTS).write_text(f"weights of {model}, seed {seed}")
    (target / RECORD).write_text(json.dumps({**dict.fromkeys(sweep.COLUMNS, 1), "seed": seed, **record}))


def test_shipping_keeps_the_rows_of_other_runs(assets, tmp_path):
    for folder, size, seed, loss in (
        ("old", 2, 0, 137.0), ("old", 3, 0, 128.0), ("old", 3, 2, 129.0),
        ("new", 3, 0, 126.0), ("new", 3, 1, 125.0), ("new", 4, 0, 120.0),
    ):  # fmt: skip
        finish(tmp_path / folder, f"vae_L{size}", seed, latent_dim=size, test_loss=loss)
    sweep.main(["--models", "vae_L2", "vae_L3", "--ship", "--out", str(tmp_path / "old")])
    sweep.main(["--models", "vae_L3", "--ship", "--out", str(tmp_path / "new")])
    assert [(row["latent_dim"], row["seed"], row["test_loss"]) for row in load_sweep_table()] == [
        (2, 0, 137.0), (3, 0, 126.0), (3, 1, 125.0), (3, 2, 129.0),
    ]  # fmt: skip
    assert pretrained.weights_path("vae_L3").read_text() == "weights of vae_L3, seed 0"
    assert not pretrained.weights_path("vae_L4").exists()


def test_nothing_ships_if_a_run_is_missing(assets, tmp_path):
    finish(tmp_path / "runs", "vae_L2", 0, test_loss=137.0)
    with pytest.raises(SystemExit, match=r"vae_L3_E30_S0 is not finished: train it first with .*--models vae_L3"):
        sweep.main(["--models", "vae_L2", "vae_L3", "--ship", "--out", str(tmp_path / "runs")])
    assert not list(assets.iterdir())


def test_a_second_encoder_of_another_vae_does_not_ship(assets, tmp_path):
    for folder, model in (("old", "vae_L2"), ("new", "vae_L2"), ("new", "vae_L2_denoising_encoder")):
        finish(tmp_path / folder, model, 0)
    (tmp_path / "new" / Run("vae_L2", 0).name / WEIGHTS).write_text("other weights")
    ship = ["--ship", "--out"]
    sweep.main(["--models", "vae_L2", *ship, str(tmp_path / "old")])
    with pytest.raises(SystemExit, match="vae_L2_denoising_encoder was trained with another vae_L2 than the one"):
        sweep.main(["--models", "vae_L2_denoising_encoder", *ship, str(tmp_path / "new")])
    assert not pretrained.weights_path("vae_L2_denoising_encoder").exists()
    sweep.main(["--models", "vae_L2", "vae_L2_denoising_encoder", *ship, str(tmp_path / "new")])
    assert pretrained.weights_path("vae_L2_denoising_encoder").exists()


def test_all_models_are_trained_unless_the_command_line_says_otherwise():
    runs = sweep.choose_runs(None, None, None, None)
    assert len({run.name for run in runs}) == len(runs) == 3 * 9 + 9 + 2 + 3
    assert {run.model for run in runs if run.seed} == {f"vae_L{size}" for size in range(2, 11)}


@pytest.mark.parametrize("run", [ENCODER_RUN, Run("vae_L10", 2), Run("vae_L3_denoising_encoder", 0)])
def test_the_recorded_command_repeats_the_run(run, monkeypatch):
    started = []
    monkeypatch.setattr(sweep, "sweep", lambda runs, folder, jobs: started.extend(runs))
    sweep.main(run.command.removeprefix("python3 run.py sweep ").split())
    assert started == [run]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "0"], ["--jobs", "0"], ["--limit", "0"], ["--limit", "few"], ["--seeds", "two"], ["--models"],
        ["--models", "vae_L11"], ["--models", "median"],
    ],
)  # fmt: skip
def test_bad_command_lines(arguments, capsys):
    with pytest.raises(SystemExit):
        sweep.main(arguments)
    assert arguments[0] in capsys.readouterr().err
