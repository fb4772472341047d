"""The VAE: shapes, the loss as a sum, training that trains, evaluation that does not, save and load."""

import numpy as np
import pytest

from vae_utils import VAE, Sampler, build_decoder, build_encoder, pixel_log_odds
from vae_utils.backend import keras
from vae_utils.models import layer_table


def weights_of(model):
    return [value.copy() for value in model.get_weights()]


@pytest.mark.parametrize("latent_dim", [1, 2, 10])
def test_shapes(latent_dim, digits):
    encoder, decoder = build_encoder(latent_dim), build_decoder(latent_dim)
    z_mean, z_log_var = encoder(digits[0][:3])
    assert z_mean.shape == z_log_var.shape == (3, latent_dim)
    assert decoder(z_mean).shape == (3, 28, 28, 1)


def test_the_network_is_small_and_convolutional():
    encoder, decoder = build_encoder(2), build_decoder(2)
    assert encoder.count_params() + decoder.count_params() <= 250_000
    for model in (encoder, decoder):
        assert any("Conv" in type(layer).__name__ for layer in model.layers)


@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, True, "2", None])
def test_latent_dim_out_of_range(latent_dim):
    for build in (build_encoder, build_decoder):
        with pytest.raises(ValueError, match="latent_dim must be a whole number"):
            build(latent_dim)


def test_the_decoder_can_start_at_the_average_digit(digits):
    x = digits[0]
    blank, average = build_decoder(2), build_decoder(2, pixel_log_odds(x))
    z = np.zeros((1, 2), np.float32)
    bias = average.get_layer("logits").bias
    expected = np.clip(x.mean(axis=0), 0.01, 0.99)
    np.testing.assert_allclose(keras.ops.sigmoid(bias), expected, atol=1e-5)
    assert not blank.get_layer("logits").bias.numpy().any()
    assert abs(keras.ops.convert_to_numpy(keras.ops.sigmoid(average(z))) - expected).mean() < 0.05


def test_vae_refuses_parts_that_do_not_fit():
    with pytest.raises(ValueError, match="must give"):
        VAE(build_encoder(2), build_decoder(3))
    with pytest.raises(ValueError, match="beta"):
        VAE(build_encoder(2), build_decoder(2), beta=-1)


def test_sampler_draws_what_it_is_told():
    many = np.ones((100_000, 1), np.float32)
    draws = keras.ops.convert_to_numpy(Sampler(0)(3 * many, np.log(4.0) * many))
    assert draws.mean() == pytest.approx(3, abs=0.03) and draws.std() == pytest.approx(2, abs=0.03)
    again = keras.ops.convert_to_numpy(Sampler(0)(3 * many, np.log(4.0) * many))
    np.testing.assert_array_equal(draws, again)


def test_reconstruction_lies_in_the_unit_interval(vae, digits):
    x_recon = keras.ops.convert_to_numpy(vae(digits[0][:5]))
    assert x_recon.shape == (5, 28, 28, 1) and x_recon.min() >= 0 and x_recon.max() <= 1
    np.testing.assert_allclose(x_recon, vae.decode(vae.encode(digits[0][:5])[0]), atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_printed_loss_is_the_sum_of_its_parts(beta, digits):
    x = digits[0][:300]  # the last batch is smaller: a mean of batch means would be off
    vae = VAE(build_encoder(2), build_decoder(2), beta=beta)
    vae.compile("adam")
    history = vae.fit(x, validation_data=(x[:200],), batch_size=128, epochs=1, verbose=0).history
    for prefix in ("", "val_"):
        total, reconstruction, kl = (history[prefix + k][0] for k in ("loss", "reconstruction_loss", "kl_loss"))
        assert total == pytest.approx(reconstruction + beta * kl, rel=1e-5)
    measured = vae.evaluate(x, verbose=0, return_dict=True)
    assert measured["loss"] == pytest.approx(measured["reconstruction_loss"] + beta * measured["kl_loss"], rel=1e-5)


def test_training_trains_and_evaluation_does_not(vae, digits):
    vae.compile(keras.optimizers.Adam(1e-3))
    before = weights_of(vae.encoder) + weights_of(vae.decoder)
    vae.evaluate(digits[0][:256], verbose=0)
    vae.predict(digits[0][:256], verbose=0)
    after = weights_of(vae.encoder) + weights_of(vae.decoder)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    history = vae.fit(digits[0], batch_size=100, epochs=3, verbose=0).history
    trained = weights_of(vae.encoder) + weights_of(vae.decoder)
    assert history["loss"][-1] < history["loss"][0] - 10
    assert all(not np.array_equal(a, b) for a, b in zip(before, trained, strict=True))


def test_a_target_may_differ_from_the_input(digits):
    x = digits[0][:64]
    dark_decoder = build_decoder(2, np.full((28, 28, 1), -3.0, np.float32))
    vae = VAE(build_encoder(2), dark_decoder)
    own, kl = vae.elbo_terms(x)
    dark, _ = vae.elbo_terms(x, np.zeros_like(x))
    assert own.shape == kl.shape == (64,)
    assert float(keras.ops.mean(dark)) < 0.5 * float(keras.ops.mean(own))


def test_bernoulli_input_only_while_training(digits):
    grey = np.full((500, 28, 28, 1), 0.5, np.float32)
    seen = []
    encoder = build_encoder(2)
    vae = VAE(encoder, build_decoder(2))
    encoder.call = lambda x, **kwargs: (seen.append(np.array(x)), type(encoder).call(encoder, x, **kwargs))[1]
    vae.elbo_terms(grey, training=False)
    vae.elbo_terms(grey, training=True)
    assert np.array_equal(seen[0], grey)
    assert set(np.unique(seen[1])) == {0.0, 1.0} and seen[1].mean() == pytest.approx(0.5, abs=0.01)


def test_saved_and_reloaded_model_predicts_the_same(vae, digits, tmp_path):
    x = digits[0][:20]
    vae.compile("adam")
    vae.fit(x, epochs=1, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), vae.predict(x, verbose=0))
    loaded.fit(x, epochs=1, verbose=0)  # still compiled

    vae.save_weights(tmp_path / "vae.weights.h5")
    other = VAE(build_encoder(2), build_decoder(2), seed=0)
    assert not np.array_equal(other.encode(x)[0], vae.encode(x)[0])
    other.load_weights(tmp_path / "vae.weights.h5")
    np.testing.assert_array_equal(other.encode(x)[0], vae.encode(x)[0])


def test_one_image_and_no_image(vae):
    for n in (0, 1):
        z_mean, z_log_var = vae.encode(np.zeros((n, 28, 28, 1)))
        assert z_mean.shape == z_log_var.shape == (n, 2)
        assert vae.decode(np.zeros((n, 2))).shape == (n, 28, 28, 1)


def test_more_images_than_one_chunk(vae, digits):
    x = digits[0][:1500]
    whole = vae.encode(x)[0]
    np.testing.assert_allclose(whole[1200:1300], vae.encode(x[1200:1300])[0], atol=1e-5)


@pytest.mark.parametrize("method", ["encode", "fit"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [(lambda x: x * 255, "divide grey levels"), (lambda x: x * np.nan, "NaN"), (lambda x: x[..., 0], "shape")],
)
def test_bad_images(method, change, sentence, vae, digits):
    vae.compile("adam")
    with pytest.raises(ValueError, match=sentence):
        getattr(vae, method)(change(digits[0][:8]))


@pytest.mark.parametrize("z", [np.zeros(2), np.zeros((1, 3)), np.array([[np.nan, 0]])])
def test_bad_codes(z, vae):
    with pytest.raises(ValueError, match="z "):
        vae.decode(z)


def test_sample_weights_are_refused(vae, digits):
    with pytest.raises(ValueError, match="sample weights"):
        vae.compute_loss(digits[0][:2], sample_weight=np.ones(2))


def test_layer_table_names_every_layer_with_its_shape():
    rows = layer_table(build_encoder(2))
    assert rows[0] == ("image: Input", "28 × 28 × 1", "")
    assert rows[1][0].startswith("conv_1: Conv2D 8×8, stride 4") and rows[1][1] == "7 × 7 × 32"
    assert len(rows) == len(build_encoder(2).layers) - 1  # z_mean and z_log_var stand side by side
    assert rows[-1] == ("z_mean: Dense  |  z_log_var: Dense", "2  |  2", "130 parameters  |  130 parameters")
