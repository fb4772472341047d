"""Every model that ships is evaluated again and compared with the record of its run."""

import numpy as np
import pytest

from vae_utils import (
    data,
    denoisers,
    load_emoji,
    load_mnist,
    load_pretrained,
    load_sweep_table,
    metrics,
    pretrained,
    pretrained_record,
)
from vae_utils.data import add_gaussian_noise, add_salt_and_pepper
from vae_utils.pretrained import DENOISERS, SIZES, weights_path

DENOISING = [*((size, True) for size in SIZES), *((name, False) for name in DENOISERS)]


@pytest.fixture(scope="module")
def x_test():
    """The 10,000 test digits."""
    return load_mnist()[1][0]


@pytest.fixture(scope="module")
def inputs(x_test):
    """What denoising was measured on: the test digits with the noise of the runs."""
    return {
        "clean": x_test,
        "gaussian_0.5": add_gaussian_noise(x_test, 0.5, np.random.default_rng(0)),
        "salt_and_pepper_0.2": add_salt_and_pepper(x_test, 0.2, np.random.default_rng(0)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_vae_is_worth_what_its_record_says(size, x_test):
    """The record averages ten draws of z per digit, this test takes one: its standard error is about 0.05 nats."""
    record, vae = pretrained_record(size), load_pretrained(size)
    assert metrics.negative_elbo(vae, x_test)["loss"] == pytest.approx(record["test_loss"], abs=0.25)
    assert metrics.active_units(vae, x_test).sum() == record["active_units"]
    np.testing.assert_allclose(metrics.kl_per_dimension(vae, x_test), record["kl_per_dimension"], atol=0.01)
    assert record["parameters"] == vae.encoder.count_params() + vae.decoder.count_params() <= 500_000


@pytest.mark.slow
@pytest.mark.parametrize(("model", "denoising"), DENOISING)
def test_a_denoiser_is_worth_what_its_record_says(model, denoising, x_test, inputs):
    record, denoiser = pretrained_record(model, denoising), load_pretrained(model, denoising)
    measured = {name: metrics.psnr(x_test, denoiser.reconstruct(x)).mean() for name, x in inputs.items()}
    for name, value in measured.items():
        assert value == pytest.approx(record[f"psnr_denoised_{name}"], abs=0.01), name
    # Both noises leave about 10 dB, and painting the average digit gives 12.1 dB.
    assert min(measured["gaussian_0.5"], measured["salt_and_pepper_0.2"]) > 14


@pytest.mark.ledger
def test_more_latent_dimensions_remove_more_noise():
    """Gaussian noise of level 0.5, by the records, which the test before compares with the models."""
    removed = [pretrained_record(size, denoising=True)["psnr_denoised_gaussian_0.5"] for size in SIZES]
    assert removed == sorted(removed)
    assert removed[0] > 14.5 and removed[SIZES.index(5)] > 16.9 and removed[-1] > 18.5


def test_the_colouriser_is_worth_what_its_record_says():
    """On the test emoji: the record's numbers, better than a table's 21.2 dB, and the luma kept in every answer."""
    record, network, (_, (x_test, _)) = pretrained_record("colouriser"), load_pretrained("colouriser"), load_emoji()
    grey = data.to_grey(x_test)
    answers = network.predict(grey, batch_size=66, verbose=0)
    assert answers.shape == (330, 10, 32, 32, 3) and answers.min() >= 0 and answers.max() <= 1
    np.testing.assert_allclose(answers @ np.float32(data.LUMA), np.repeat(grey[:, None, ..., 0], 10, 1), atol=1e-5)
    quality = np.minimum([metrics.psnr(x_test, answers[:, k]) for k in range(10)], 40)
    assert quality.mean() == pytest.approx(record["test_psnr_single"], abs=0.05)
    assert quality.max(axis=0).mean() == pytest.approx(record["test_psnr_best_of_ten"], abs=0.05)
    assert quality.max(axis=0).mean() > 26.5 and record["parameters"] <= 250_000


@pytest.mark.parametrize("seed", [0, 1])
def test_the_watermark_remover_is_worth_what_its_record_says(seed):
    """Other words and pictures than in training; with the seed of the record, and with other stamps."""
    record, model, (_, (x_test, _)) = (
        pretrained_record("watermark_remover"),
        load_pretrained("watermark_remover"),
        load_emoji(),
    )
    stamped, opacity = data.stamp_words(x_test, data.HELD_OUT_WORDS, np.random.default_rng(seed))
    repaired = model.reconstruct(stamped)
    inside, outside = (metrics.psnr(x_test, repaired, where).mean() for where in (opacity > 0, opacity == 0))
    assert inside == pytest.approx(record["test_psnr_inside"], abs=0.7 if seed else 0.1)
    assert outside == pytest.approx(record["test_psnr_outside"], abs=1.5 if seed else 0.3)
    assert inside > 21 and outside > 35 and record["parameters"] <= 250_000


def test_the_emoji_vae_is_worth_what_its_record_says():
    """On the test emoji: the record's numbers, and better than the average training picture."""
    record, model, ((x_train, _), (x_test, _)) = (
        pretrained_record("emoji_vae"),
        load_pretrained("emoji_vae"),
        load_emoji(),
    )
    quality = metrics.psnr(x_test, model.reconstruct(x_test)).mean()
    average = metrics.psnr(x_test, np.broadcast_to(x_train.mean(axis=0), x_test.shape)).mean()
    assert quality == pytest.approx(record["test_psnr"], abs=0.05) and quality > average + 3
    loss = metrics.negative_elbo(model, x_test)["loss"]
    assert loss == pytest.approx(record["test_loss"], rel=0.01)


@pytest.mark.parametrize("size", SIZES)
def test_the_second_encoder_shares_the_decoder(size, digits):
    vae, denoising = load_pretrained(size), load_pretrained(size, denoising=True)
    z = np.random.default_rng(0).standard_normal((20, size))
    np.testing.assert_array_equal(vae.decoder(z), denoising.decoder(z))
    np.testing.assert_array_equal(vae.decode(z), load_pretrained(size).decode(z))
    assert not np.allclose(vae.encode(digits[0][:5])[0], denoising.encode(digits[0][:5])[0], atol=0.01)


@pytest.mark.parametrize("model", [0, 1, 11, "2", 2.5, True, None, "median", "vae_L2"])
@pytest.mark.parametrize("function", [load_pretrained, pretrained_record])
def test_an_unknown_model_gets_a_sentence_with_those_there_are(function, model):
    with pytest.raises(ValueError, match=r"No model ships for .*; there are 2,.* 10, 'unet_denoiser'"):
        function(model)


@pytest.mark.parametrize("function", [load_pretrained, pretrained_record])
def test_a_denoising_autoencoder_has_no_second_encoder(function):
    with pytest.raises(ValueError, match="No model ships for 'unet_denoiser'"):
        function("unet_denoiser", denoising=True)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((2,), "vae_L2"), ((2, True), "vae_L2_denoising_encoder"), (("bottleneck_denoiser",), "bottleneck_denoiser")],
)
def test_a_damaged_or_missing_file_gets_one_sentence(arguments, name, tmp_path, monkeypatch):
    vae, other = (weights_path(model).read_bytes() for model in ("vae_L2", "unet_denoiser"))
    monkeypatch.setattr(pretrained, "ASSETS", tmp_path)
    for damaged in (None, b"", vae[: len(vae) // 2], other):
        weights_path("vae_L2").write_bytes(vae)
        if damaged is None:
            weights_path(name).unlink(missing_ok=True)
        else:
            weights_path(name).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^The file .*{name}\.\S* cannot be read: restore .* again\.$"):
            load_pretrained(*arguments)


@pytest.mark.parametrize("text", [None, "", '{"recipe":'])
def test_a_damaged_or_missing_record_gets_one_sentence(text, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "ASSETS", tmp_path)
    if text is not None:
        (tmp_path / "vae_L2.json").write_text(text)
    with pytest.raises(ValueError, match=r"^The file .*vae_L2\.json cannot be read: restore .* again\.$"):
        pretrained_record(2)


@pytest.mark.ledger
def test_the_table_holds_the_shipped_run_of_every_size():
    """A check of committed files against each other: the table, and the records beside it."""
    table = load_sweep_table()
    assert [(row["latent_dim"], row["seed"]) for row in table] == [(size, seed) for size in SIZES for seed in (0, 1, 2)]
    for row in table:
        assert row["test_loss"] == pytest.approx(row["test_reconstruction_loss"] + row["test_kl_loss"], abs=2e-3)
        assert -row["importance_weighted_bound"] < row["test_loss"] and row["epochs"] == pretrained.EPOCHS
        if row["seed"] == 0:
            record = pretrained_record(row["latent_dim"])
            assert {name: pytest.approx(record[name], abs=1e-4) for name in row} == row
    means = [np.mean([row["test_loss"] for row in table if row["latent_dim"] == size]) for size in SIZES]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("answers", [1, 3])
def test_every_answer_of_a_colouriser_keeps_the_luma(answers):
    """Also before training, for any grey picture, black and white included."""
    grey = np.random.default_rng(0).random((4, 32, 32, 1), dtype=np.float32)
    grey[0], grey[1] = 0, 1
    colours = np.asarray(denoisers.build_colouriser(answers, widths=(4, 8))(grey))
    assert colours.shape == (4, answers, 32, 32, 3) and colours.min() >= 0 and colours.max() <= 1
    np.testing.assert_allclose(colours @ np.float32(data.LUMA), np.repeat(grey[:, None, ..., 0], answers, 1), atol=1e-5)


def test_add_colour_gives_back_a_colour_from_its_luma_and_offsets():
    x = np.random.default_rng(0).random((5, 32, 32, 3), dtype=np.float32)
    grey = data.to_grey(x)
    np.testing.assert_allclose(denoisers.add_colour(grey, (x - grey)[..., [0, 2]]), x, atol=1e-4)


def test_a_watermark_remover_learns_and_checks_its_input(digits):
    """A few steps lower the error of stamped pictures; grey pictures are refused."""
    x = load_emoji()[1][0][:32]
    stamped, _ = data.stamp_words(x, ["DRAFT"], np.random.default_rng(0))
    model = denoisers.build_watermark_remover(widths=(8, 8))
    before = metrics.psnr(x, model.reconstruct(stamped)).mean()
    model.compile("adam", jit_compile=False)
    model.fit(stamped, x, epochs=8, verbose=0)
    assert metrics.psnr(x, model.reconstruct(stamped)).mean() > before + 0.5
    with pytest.raises(ValueError, match="must have the shape"):
        model.reconstruct(digits[0][:3])


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoising_autoencoder_gives_images(name, digits):
    denoiser = DENOISERS[name]()
    x_recon = denoiser.reconstruct(digits[0][:3])
    assert x_recon.shape == (3, 28, 28, 1) and x_recon.min() >= 0 and x_recon.max() <= 1
    assert denoiser.reconstruct(digits[0][:0]).shape == (0, 28, 28, 1)
    with pytest.raises(ValueError, match="x must lie in"):
        denoiser.reconstruct(digits[0][:3] * 2)
