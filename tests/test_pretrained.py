"""Every file on the shelf is evaluated again and compared with its own record."""

import json

import numpy as np
import pytest

from vae_utils import load_denoiser, load_mnist, load_pretrained, negative_elbo, pretrained, sweep
from vae_utils.pretrained import metrics_path, pretrained_metrics, pretrained_sizes, weights_path

SIZES = pretrained_sizes()
DENOISERS = pretrained.denoiser_names()


def test_two_dimensions_ship():
    assert 2 in SIZES


@pytest.mark.parametrize("latent_dim", SIZES)
def test_the_weights_are_worth_what_their_record_says(latent_dim):
    record = pretrained_metrics(latent_dim)
    (_, _), (x_test, _) = load_mnist()
    measured = negative_elbo(load_pretrained(latent_dim), x_test)
    assert measured["loss"] == pytest.approx(record["test_loss"], abs=0.1)
    assert measured["kl_loss"] == pytest.approx(record["test_kl_loss"], abs=0.01)
    assert record["epochs"] == 30 == len(record["history"]["train"]["loss"])
    assert record["train_images"] == 55_000 and record["parameters"] <= 250_000


@pytest.mark.parametrize("latent_dim", SIZES)
def test_the_files_are_small_and_in_pairs(latent_dim):
    assert weights_path(latent_dim).stat().st_size < 1.1e6
    assert json.loads(metrics_path(latent_dim).read_text())["latent_dim"] == latent_dim


@pytest.mark.parametrize(("latent_dim", "promised"), [(2, 137.5), (5, 112.0), (10, 97.0)])
def test_the_models_are_as_good_as_we_promise(latent_dim, promised):
    assert pretrained_metrics(latent_dim)["test_loss"] <= promised


def test_the_table_holds_every_size_with_three_seeds():
    records = pretrained.sweep_records()
    assert [(r["latent_dim"], r["seed"]) for r in records] == [(n, seed) for n in range(2, 11) for seed in (0, 1, 2)]
    for record in records:
        total = record["test_reconstruction_loss"] + record["test_kl_loss"]
        assert record["test_loss"] == pytest.approx(total, abs=2e-3)
        assert -record["importance_weighted_bound"] < record["test_loss"]
        assert record["epochs"] == 30 and record["train_images"] == 55_000
    shipped = {r["latent_dim"]: r["test_loss"] for r in records if r["seed"] == sweep.SHIPPED_SEED}
    for latent_dim in SIZES:
        assert pretrained_metrics(latent_dim)["test_loss"] == pytest.approx(shipped[latent_dim], abs=1e-3)


def test_every_dimension_helps():
    losses = [np.mean([r["test_loss"] for r in pretrained.sweep_records() if r["latent_dim"] == n]) for n in SIZES]
    assert list(range(2, 11)) == SIZES and np.all(np.diff(losses) < 0)


@pytest.mark.parametrize("latent_dim", [0, 1, 99, "2", None])
def test_an_unknown_size_names_those_there_are(latent_dim):
    with pytest.raises(ValueError, match=rf"there are .*{SIZES[0]}"):
        load_pretrained(latent_dim)


def test_a_damaged_file_gets_one_sentence(tmp_path, monkeypatch):
    for path in (weights_path(2), metrics_path(2)):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(ValueError, match=r"cannot be read.*git checkout"):
        load_pretrained(2)


def test_loading_is_deterministic():
    z = np.zeros((1, 2))
    np.testing.assert_array_equal(load_pretrained(2).decode(z), load_pretrained(2).decode(z))


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_is_worth_what_its_record_says(name):
    record = pretrained.denoiser_metrics(name)
    measured = sweep.measure_denoiser(load_denoiser(name), load_mnist()[1][0])
    assert measured["psnr"] == pytest.approx(record["psnr"], abs=0.01)
    assert measured["ssim"] == pytest.approx(record["ssim"], abs=0.001)
    assert measured["psnr_of_the_noisy_digits"] == pytest.approx(record["psnr_of_the_noisy_digits"], abs=0.001)
    assert measured["psnr"] > measured["psnr_of_the_noisy_digits"] + 3
    assert record["denoiser"] == name and record["epochs"] == 30 == len(record["history"]["train"]["loss"])
    assert record["train_images"] == 55_000 and record["latent_dim"] == pretrained.DENOISERS[name]


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoisers_file_is_small(name):
    assert pretrained.denoiser_weights_path(name).stat().st_size < 1e6


@pytest.mark.parametrize("name", pretrained.DENOISERS)
def test_a_denoiser_of_any_kind_gives_images(name, digits):
    denoiser = pretrained.build_denoiser(name)
    x_recon = denoiser.reconstruct(digits[0][:3])
    assert x_recon.shape == (3, 28, 28, 1) and x_recon.min() >= 0 and x_recon.max() <= 1
    np.testing.assert_array_equal(x_recon, denoiser.reconstruct(digits[0][:3]))
    assert denoiser.reconstruct(digits[0][:0]).shape == (0, 28, 28, 1)
    with pytest.raises(ValueError, match="x must lie in"):
        denoiser.reconstruct(digits[0][:3] * 2)


@pytest.mark.parametrize("load", [load_denoiser, pretrained.denoiser_metrics])
def test_an_unknown_denoiser_names_those_there_are(load, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=f"there are {', '.join(DENOISERS) or 'none'}"):
        load("median")
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(ValueError, match="there are none"):
        load("denoising_autoencoder")
    with pytest.raises(ValueError, match="choose one of denoising_vae_L2"):
        pretrained.build_denoiser("median")


def test_a_damaged_denoiser_gets_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_DIR", tmp_path)
    pretrained.denoiser_weights_path("denoising_autoencoder").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"cannot be read.*git checkout"):
        load_denoiser("denoising_autoencoder")
