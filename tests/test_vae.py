"""The VAE: its losses against closed forms, its training as Keras promises, its checks, and the file on its own."""

import inspect
import shutil
import subprocess
import sys

import numpy as np
import pytest

from vae_utils import (
    VAE,
    Sampler,
    build_decoder,
    build_encoder,
    kl_divergence,
    kl_divergence_per_dim,
    pixel_log_odds,
    reconstruction_loss,
)
from vae_utils import vae as vae_module
from vae_utils.backend import keras

rng = np.random.default_rng(0)
x_small = rng.random((300, 8, 8, 1), dtype=np.float32)  # batches of 128 leave a smaller last one


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def softplus(value):
    return np.log1p(np.exp(value))


# --- losses ---


def test_reconstruction_loss_is_the_cross_entropy_summed_over_pixels():
    x = rng.random((5, 28, 20, 3)).astype(np.float32)
    logits = rng.normal(0, 4, x.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(to_numpy(reconstruction_loss(x, logits)), expected, rtol=1e-5)
    keras_own = keras.ops.sum(keras.ops.binary_crossentropy(x, logits, from_logits=True), axis=(1, 2, 3))
    np.testing.assert_allclose(to_numpy(reconstruction_loss(x, logits)), to_numpy(keras_own), rtol=1e-5)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_reconstruction_loss_is_finite_at_extreme_logits(logit):
    x = np.full((1, 28, 28, 1), 0.25, np.float32)
    expected = 784 * 1e4 * (0.75 if logit > 0 else 0.25)
    assert float(reconstruction_loss(x, np.full_like(x, logit))[0]) == pytest.approx(expected)


def test_reconstruction_loss_is_smallest_at_the_pixels_log_odds():
    x = rng.uniform(0.05, 0.95, (1, 28, 28, 1)).astype(np.float32)
    log_odds = np.log(x / (1 - x))
    entropy = -(x * np.log(x) + (1 - x) * np.log(1 - x)).sum()
    at_best = float(reconstruction_loss(x, log_odds)[0])
    assert at_best == pytest.approx(entropy, rel=1e-5)
    assert float(reconstruction_loss(x, log_odds + 0.1)[0]) > at_best


def test_reconstruction_loss_is_the_mean_over_bernoulli_draws():
    x = rng.random((1, 8, 8, 1)).astype(np.float32)
    logits = rng.normal(0, 1, x.shape).astype(np.float32)
    draws = (rng.random((50_000, 8, 8, 1)) < x).astype(np.float32)
    binary = to_numpy(reconstruction_loss(draws, np.broadcast_to(logits, draws.shape)))
    assert abs(binary.mean() - float(reconstruction_loss(x, logits)[0])) < 4 * binary.std() / np.sqrt(len(draws))


def test_reconstruction_loss_refuses_different_shapes():
    with pytest.raises(ValueError, match="same shape"):
        reconstruction_loss(np.zeros((2, 28, 28, 1)), np.zeros((2, 28, 28, 3)))


@pytest.mark.parametrize("latent_dim", [1, 2, 10])
def test_kl_divergence_closed_forms(latent_dim):
    zero, one = np.zeros((3, latent_dim), np.float32), np.ones((3, latent_dim), np.float32)
    np.testing.assert_array_equal(to_numpy(kl_divergence(zero, zero)), 0)
    np.testing.assert_allclose(to_numpy(kl_divergence(one, zero)), latent_dim / 2)


def test_kl_divergence_against_monte_carlo():
    z_mean, z_log_var = np.array([[0.7, -1.3]]), np.array([[-1.2, 0.4]])
    z = z_mean + np.exp(z_log_var / 2) * rng.standard_normal((400_000, 2))
    log_ratio = -0.5 * z_log_var - (z - z_mean) ** 2 / (2 * np.exp(z_log_var)) + z**2 / 2
    error = 4 * log_ratio.std(axis=0) / np.sqrt(len(z))
    assert (np.abs(to_numpy(kl_divergence_per_dim(z_mean, z_log_var))[0] - log_ratio.mean(axis=0)) < error).all()
    assert abs(float(kl_divergence(z_mean, z_log_var)[0]) - log_ratio.sum(axis=1).mean()) < error.sum()


# --- the parts ---


@pytest.mark.parametrize(
    ("latent_dim", "image_shape"),
    [(1, (28, 28, 1)), (2, (32, 32, 1)), (10, (32, 32, 3)), (3, (64, 64, 3)), (2, (4, 8, 2))],
)
def test_encoder_and_decoder_fit_together_at_every_size(latent_dim, image_shape):
    z_mean, z_log_var = build_encoder(latent_dim, image_shape)(np.zeros((3, *image_shape)))
    assert z_mean.shape == z_log_var.shape == (3, latent_dim)
    assert build_decoder(latent_dim, image_shape)(z_mean).shape == (3, *image_shape)


def test_the_network_of_the_course_is_small_and_convolutional():
    encoder, decoder = build_encoder(10), build_decoder(10)
    assert encoder.count_params() + decoder.count_params() <= 500_000
    for model in (encoder, decoder):
        assert any("Conv" in type(layer).__name__ for layer in model.layers)


@pytest.mark.parametrize("build", [build_encoder, build_decoder])
@pytest.mark.parametrize(
    "sizes",
    [
        (0,),
        (-1,),
        (2.0,),
        ("2",),
        (None,),
        (2, (30, 28, 1)),
        (2, (28, 28)),
        (2, (28, 0, 1)),
        (2, (28.0, 28, 1)),
        (2, 4),
    ],
)
def test_sizes_that_cannot_be_built(build, sizes):
    with pytest.raises(ValueError, match="height and width multiples of 4"):
        build(*sizes)


def test_the_decoder_can_start_at_the_average_digit(digits):
    average = build_decoder(2, log_odds=pixel_log_odds(digits[0]))
    drawn = to_numpy(keras.ops.sigmoid(average(np.zeros((1, 2)))))[0]
    assert np.abs(drawn - np.clip(digits[0].mean(axis=0), 0.01, 0.99)).mean() < 0.05


@pytest.mark.parametrize("log_odds", [np.zeros((28, 28)), np.zeros((32, 32, 1)), np.full((28, 28, 1), np.inf)])
def test_log_odds_that_do_not_fit(log_odds):
    with pytest.raises(ValueError, match=r"log_odds must be finite and of shape \(28, 28, 1\)"):
        build_decoder(2, log_odds=log_odds)


def test_sampler_draws_from_the_gaussian_that_it_is_given():
    many = np.ones((100_000, 1), np.float32)
    draws = to_numpy(Sampler(0)(3 * many, np.log(4.0) * many))
    assert draws.mean() == pytest.approx(3, abs=0.03) and draws.std() == pytest.approx(2, abs=0.03)
    np.testing.assert_array_equal(draws, to_numpy(Sampler(0)(3 * many, np.log(4.0) * many)))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (lambda: (None, None), "must be Keras models"),
        (lambda: (keras.Sequential([keras.layers.Dense(2)]), build_decoder(2)), r"models with a keras\.Input"),
        (lambda: (build_encoder(2), build_decoder(3)), "do not fit"),
        (lambda: (build_encoder(2), build_decoder(2, (32, 32, 1))), "do not fit"),
        (lambda: (build_encoder(2), build_decoder(2), -1), "beta must be a number of 0 or more"),
        (lambda: (build_encoder(2), build_decoder(2), np.nan), "beta must be a number of 0 or more"),
        (lambda: (build_encoder(2), build_decoder(2), "x"), "beta must be a number of 0 or more"),
    ],
)
def test_a_vae_refuses_parts_that_do_not_fit(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        VAE(*parts())


# --- the loss in fit and evaluate ---


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_printed_loss_is_the_sum_of_its_parts(beta, dense_vae):
    vae = dense_vae(beta=beta)
    vae.compile("adam", run_eagerly=True)
    printed = vae.fit(x_small, validation_data=(x_small[:200],), batch_size=128, verbose=0).history
    evaluated = vae.evaluate(x_small, batch_size=128, verbose=0, return_dict=True)
    for values in (printed, {name: printed[f"val_{name}"] for name in printed if f"val_{name}" in printed}, evaluated):
        loss, reconstruction, kl = (np.mean(values[k]) for k in ("loss", "reconstruction_loss", "kl_loss"))
        assert loss == pytest.approx(reconstruction + beta * kl, rel=1e-5)


def test_the_terms_are_means_over_images_whatever_the_batches(dense_vae, silence_decoder):
    vae = silence_decoder(dense_vae())
    vae.compile("adam", run_eagerly=True)
    y = np.linspace(0, 1, 300, dtype=np.float32)[:, None, None, None] * np.ones((8, 8, 1), np.float32)
    z_mean, z_log_var = vae.encode(x_small)
    expected = {"kl_loss": 0.5 * (z_mean**2 + np.exp(z_log_var) - z_log_var - 1).sum(axis=1).mean()}
    for target, arguments in ((x_small, (x_small,)), (y, (x_small, y))):  # fit(x, y) encodes x and reconstructs y
        expected["reconstruction_loss"] = 64 * (softplus(-1) + target.mean())
        measured = vae.evaluate(*arguments, batch_size=128, verbose=0, return_dict=True)
        assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_beta_set_between_two_fits_changes_the_gradient(dense_vae, silence_decoder):
    """Without a gradient from the decoder, a step of SGD on the bias of z_mean is −rate · beta · mean(z_mean)."""
    vae = silence_decoder(dense_vae(beta=0))
    bias = vae.encoder.get_layer("z_mean").bias
    vae.compile(keras.optimizers.SGD(0.01))
    vae.fit(x_small, batch_size=300, verbose=0)
    np.testing.assert_array_equal(bias, 0)
    expected = -0.01 * 4 * vae.encode(x_small)[0].mean(axis=0)
    vae.beta = 4
    vae.fit(x_small, batch_size=300, verbose=0)
    np.testing.assert_allclose(bias, expected, rtol=1e-4)
    assert vae.beta == 4


def test_a_callback_can_warm_beta_up(dense_vae):
    vae = dense_vae()
    vae.compile("adam")
    warm_up = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(vae, "beta", epoch / 2))
    history = vae.fit(x_small, epochs=3, callbacks=[warm_up], verbose=0).history
    betas = np.subtract(history["loss"], history["reconstruction_loss"]) / history["kl_loss"]
    np.testing.assert_allclose(betas, [0, 0.5, 1], atol=1e-3)


def test_the_penalty_of_a_regulariser_is_part_of_the_loss(dense_vae):
    vae = dense_vae(regularizer=keras.regularizers.L2(0.5), beta=2)
    vae.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    for run in (vae.fit, vae.evaluate):
        kernels = [vae.encoder.get_layer(name).kernel.numpy() for name in ("z_mean", "z_log_var")]
        printed = run(x_small, batch_size=300, verbose=0, **({} if run == vae.fit else {"return_dict": True}))
        printed = printed.history if run == vae.fit else printed
        loss, reconstruction, kl = (np.mean(printed[k]) for k in ("loss", "reconstruction_loss", "kl_loss"))
        assert loss - reconstruction - 2 * kl == pytest.approx(0.5 * np.square(kernels).sum(), rel=1e-2)


def test_sample_weights_count_as_in_keras(dense_vae, silence_decoder):
    vae = silence_decoder(dense_vae(beta=0))
    vae.compile("adam", run_eagerly=True)
    image = keras.Input((8, 8, 1))
    plain = keras.Model(image, keras.layers.Rescaling(0.0, offset=-1.0)(image))  # the same logits from a plain model
    plain.compile(loss=reconstruction_loss)
    weights = x_small.mean(axis=(1, 2, 3)) * rng.uniform(0, 9, 300).astype(np.float32)
    expected = plain.evaluate(x_small, x_small, sample_weight=weights, verbose=0)
    assert vae.evaluate(x_small, x_small, sample_weight=weights, verbose=0)[0] == pytest.approx(expected, rel=1e-5)


# --- one forward pass ---


def test_a_training_step_is_one_forward_pass(dense_vae):
    """Two would move the mean of BatchNormalization twice a step."""
    norm = keras.layers.BatchNormalization(momentum=0.9)
    vae = dense_vae(norm)
    vae.compile("adam", steps_per_execution=2)
    vae.fit(x_small, batch_size=128, epochs=2, shuffle=False, verbose=0)
    expected = 0.0
    for start in 2 * [0, 128, 256]:
        expected = 0.9 * expected + 0.1 * x_small[start : start + 128].mean()
    assert norm.moving_mean.numpy()[0] == pytest.approx(expected, rel=1e-5)
    before = vae.get_weights()
    vae.evaluate(x_small, verbose=0)
    vae.reconstruct(x_small)
    assert all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))


@keras.saving.register_keras_serializable("tests")
class Probe(keras.layers.Layer):
    """Remembers the calls and the share of zeros in the last batch that passed."""

    def build(self, shape):
        self.calls = self.add_weight(initializer="zeros", trainable=False)
        self.zeros = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign(self.calls + 1)
        self.zeros.assign(keras.ops.mean(keras.ops.cast(x == 0, "float32")))
        return x


def test_dropout_is_active_in_fit_only(dense_vae):
    probe = Probe()
    vae = dense_vae(keras.layers.Dropout(0.5), probe)
    vae.compile("adam", run_eagerly=True)
    x = np.ones((128, 8, 8, 1), np.float32)
    vae.fit(x, verbose=0)
    assert float(probe.calls) == 4 and float(probe.zeros) == pytest.approx(0.5, abs=0.05)
    for passes, run in ((8, lambda: vae.evaluate(x, verbose=0)), (9, lambda: vae.encode(x)), (10, lambda: vae(x))):
        run()
        assert float(probe.calls) == passes and float(probe.zeros) == 0


# --- what the model returns ---


def test_the_model_is_its_reconstruction(vae, digits):
    x = digits[0][:5]
    x_recon = vae.reconstruct(x)
    assert x_recon.shape == x.shape and x_recon.min() >= 0 and x_recon.max() <= 1
    np.testing.assert_allclose(to_numpy(vae(x)), x_recon, atol=1e-6)
    vae.compile("adam")
    vae.evaluate(x, verbose=0)  # in here, the model returns something else
    np.testing.assert_allclose(vae.predict(x, verbose=0), x_recon, atol=1e-6)
    np.testing.assert_allclose(vae.decode(vae.encode(x)[0]), x_recon, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2001])
def test_encode_and_decode_take_any_number(n, dense_vae):
    vae = dense_vae()
    x = np.resize(x_small, (n, 8, 8, 1))
    z_mean, z_log_var = vae.encode(x)
    assert z_mean.shape == z_log_var.shape == (n, 2)
    assert vae.decode(z_mean).shape == (n, 8, 8, 1)
    np.testing.assert_allclose(z_mean[-3:], vae.encode(x[-3:])[0], atol=1e-5)


@pytest.mark.parametrize("z", [np.zeros(2), np.zeros((1, 3)), np.array([[np.nan, 0]])])
def test_bad_codes(z, dense_vae):
    with pytest.raises(ValueError, match=r"z must be finite and of shape \(batch, 2\)"):
        dense_vae().decode(z)


# --- randomness ---


def test_seeds(dense_vae):
    parts = dense_vae()

    def evaluate(seed=None):
        vae = VAE(parts.encoder, parts.decoder, seed=seed)
        vae.compile(run_eagerly=True)
        return vae.evaluate(x_small, verbose=0)[0]

    assert evaluate() != evaluate()
    assert evaluate(seed=3) == evaluate(seed=3) != evaluate(seed=4)


def test_a_run_repeats_after_set_random_seed(dense_vae):
    def run():
        keras.utils.set_random_seed(1)
        vae = dense_vae()
        vae.compile("adam", run_eagerly=True)
        vae.fit(x_small, epochs=2, verbose=0)
        return vae.get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(run(), run(), strict=True))


# --- as Keras promises ---


def test_a_saved_model_comes_back_whole(vae, digits, tmp_path):
    x = digits[0][:64]
    vae = VAE(vae.encoder, vae.decoder, beta=2.5, seed=7, name="mine")
    vae.compile("adam", run_eagerly=True)
    vae.fit(x, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert (loaded.name, loaded.beta, loaded.get_config()["seed"]) == ("mine", 2.5, 7)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), vae.predict(x, verbose=0))
    assert loaded.evaluate(x, verbose=0)[0] == pytest.approx(vae.evaluate(x, verbose=0)[0], rel=0.01)  # still compiled


def test_weights_move_to_another_model_without_its_beta(dense_vae, tmp_path):
    first, other = dense_vae(beta=1, seed=0), dense_vae(beta=3, seed=0)
    assert not np.array_equal(first.reconstruct(x_small), other.reconstruct(x_small))
    first.save_weights(tmp_path / "vae.weights.h5")
    other.load_weights(tmp_path / "vae.weights.h5")
    np.testing.assert_array_equal(first.reconstruct(x_small), other.reconstruct(x_small))
    assert other.beta == 3


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "compile", "save", "train_on_batch"])
def test_the_signatures_are_those_of_keras(method):
    assert inspect.signature(getattr(VAE, method)) == inspect.signature(getattr(keras.Model, method))


def test_plain_keras_code_trains_it(dense_vae, tmp_path):
    import tensorflow as tf

    vae = dense_vae()
    vae.compile(keras.optimizers.Adam(1e-2))
    noisy = np.clip(x_small + 0.1, 0, 1)
    batches = tf.data.Dataset.from_tensor_slices((noisy, x_small)).shuffle(300).batch(50).repeat()
    callbacks = [
        keras.callbacks.EarlyStopping("loss", min_delta=1e6, patience=2),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_kl_loss", mode="min", save_best_only=True),
    ]
    validation = tf.data.Dataset.from_tensor_slices((x_small, x_small)).batch(50)
    history = vae.fit(
        batches,
        epochs=9,
        steps_per_epoch=4,
        callbacks=callbacks,
        validation_data=validation,
        validation_steps=2,
        verbose=0,
    ).history
    assert len(history["val_loss"]) == 3 and history["loss"][-1] < history["loss"][0]
    assert keras.saving.load_model(tmp_path / "best.keras").reconstruct(x_small).shape == x_small.shape
    assert len(vae.fit(x_small, None, 100, 2, 0, validation_split=0.2).history["val_loss"]) == 2  # by position
    vae.train_on_batch(x_small[:50])


def test_training_trains_every_weight_and_evaluation_none(vae, digits):
    vae.compile(keras.optimizers.Adam(1e-3))
    before = vae.get_weights()
    vae.evaluate(digits[0][:256], verbose=0)
    vae.predict(digits[0][:256], verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))
    history = vae.fit(digits[0], batch_size=100, epochs=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 10
    assert all(not np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))


# --- bad images ---

BAD = {
    "divide by 255": lambda x: x * 255,
    "NaN": lambda x: np.where(np.arange(len(x))[:, None, None, None] == 3, np.nan, x),
    r"the shape \(batch, 8, 8, 1\)": lambda x: x[:, :, :4],
    "add the missing batch or channel axis": lambda x: x[..., 0],
    "the type object": lambda x: x.astype(object),
}
USES = {
    "encode": lambda vae, bad, _: vae.encode(bad),
    "reconstruct": lambda vae, bad, _: vae.reconstruct(bad),
    "evaluate": lambda vae, bad, callback: vae.evaluate(bad, verbose=0, callbacks=[callback]),
    "fit x": lambda vae, bad, callback: vae.fit(bad, verbose=0, callbacks=[callback]),
    "fit y": lambda vae, bad, callback: vae.fit(x_small, bad, verbose=0, callbacks=[callback]),
    "validation": lambda vae, bad, callback: vae.fit(
        x_small, validation_data=(x_small, bad), verbose=0, callbacks=[callback]
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("sentence", BAD)
def test_bad_images_stop_before_any_work(use, sentence, dense_vae):
    vae, begun = dense_vae(), []
    vae.compile("adam")
    callback = keras.callbacks.LambdaCallback(on_train_begin=begun.append)
    callback.on_test_begin = begun.append
    with pytest.raises(ValueError, match=sentence) as error:
        USES[use](vae, BAD[sentence](x_small), callback)
    assert not begun and "\n" not in str(error.value)


# --- the file on its own ---

ALONE = """
import sys
for name in ("vae_utils", "matplotlib", "IPython", "PIL", "scipy", "sklearn", "skimage"):
    sys.modules[name] = None  # importing any of them fails
import numpy as np
import vae

x = np.random.default_rng(0).random((64, 8, 12, 3), dtype=np.float32)
model = vae.VAE(vae.build_encoder(2, (8, 12, 3)), vae.build_decoder(2, (8, 12, 3)))
model.compile("adam", run_eagerly=True)
losses = model.fit(x, epochs=3, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
model.save("model.keras")
loaded = vae.keras.saving.load_model("model.keras")
np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
print("trained, saved and loaded")
"""


def test_the_file_works_alone_in_another_project(tmp_path):
    shutil.copy(vae_module.__file__, tmp_path / "vae.py")
    result = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.strip() == "trained, saved and loaded", result.stderr
