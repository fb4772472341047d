"""Every file on the shelf is evaluated again and compared with its own record."""

import json

import numpy as np
import pytest

from vae_utils import load_mnist, load_pretrained, negative_elbo, pretrained
from vae_utils.pretrained import metrics_path, pretrained_metrics, pretrained_sizes, weights_path

SIZES = pretrained_sizes()


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


def test_the_two_dimensional_model_is_as_good_as_we_say():
    assert pretrained_metrics(2)["test_loss"] <= 138.0


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
