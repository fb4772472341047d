"""Training: every image once per epoch, repeatable, recorded as it ran, safe against interrupts and bad input."""

import re

import numpy as np
import pytest
import tensorflow as tf

from vae_utils import VAE, BernoulliDraws, GaussianNoise, build_decoder, build_encoder, progress, train, training
from vae_utils.backend import keras
from vae_utils.denoisers import DenoisingAutoencoder

rng = np.random.default_rng(0)
x_small = rng.uniform(0.01, 0.99, (96, 8, 8, 1)).astype(np.float32)


def have_equal_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class Witness(keras.layers.Layer):
    """Counts how often each of the grey images (i + 0.5) / n passes in training, and the share of grey pixels."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def build(self, shape):
        self.counts = self.add_weight(shape=(self.n,), initializer="zeros", trainable=False)
        self.greys = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x, training=False):
        if training:
            index = keras.ops.cast(x[:, 0, 0, 0] * self.n, "int32")
            self.counts.assign(self.counts + keras.ops.sum(keras.ops.one_hot(index, self.n), axis=0))
            self.greys.assign(keras.ops.mean(keras.ops.cast((x > 0) & (x < 1), "float32")))
        return x


# --- what an epoch is ---


@pytest.mark.parametrize(("n", "epochs"), [(91, 1), (88, 3)])
def test_an_epoch_shows_every_image_once(n, epochs, dense_vae):
    """Eleven batches of 8, which is no multiple of the steps that TensorFlow takes at once; three images left over."""
    witness = Witness(n)
    x = np.broadcast_to(((np.arange(n) + 0.5) / n)[:, None, None, None], (n, 8, 8, 1)).astype(np.float32)
    log = train(dense_vae(witness), x, x[:5], epochs=epochs, batch_size=8, live=False)
    counts = witness.counts.numpy()
    assert counts.max() == epochs and counts.sum() == epochs * 88
    assert (log.epochs, log.recipe["steps_per_epoch"], log.recipe["train_images"]) == (epochs, 11, n)


def test_batches_come_in_a_new_order_every_epoch():
    x = np.arange(100, dtype=np.float32)
    batches = training.shuffled_batches(x, batch_size=10)
    first, second = (np.concatenate(list(batches.as_numpy_iterator())) for _ in range(2))
    assert sorted(first) == sorted(second) == x.tolist()
    assert not np.array_equal(first, second) and not np.array_equal(first, x)
    again = np.concatenate(list(training.shuffled_batches(x, batch_size=10).as_numpy_iterator()))
    np.testing.assert_array_equal(first, again)


def test_corrupted_images_are_new_every_epoch_and_keep_their_targets():
    x = np.tile(np.arange(40, dtype=np.float32)[:, None], 5)
    batches = training.shuffled_batches(
        x, 8, corrupt=lambda x, seed: x + tf.random.stateless_uniform(tf.shape(x), seed, 0.1, 0.9)
    )
    epochs = []
    for _ in range(2):
        corrupted, clean = (np.concatenate(part) for part in zip(*batches.as_numpy_iterator(), strict=True))
        np.testing.assert_array_equal(np.floor(corrupted), clean)
        epochs.append((corrupted - clean)[np.argsort(clean[:, 0])])
    assert len(np.unique(np.round(epochs, 6))) > 390  # 2 · 40 · 5 independent draws


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, None])
def test_bad_batch_sizes(batch_size):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
        training.shuffled_batches(x_small, batch_size)


# --- what the encoder sees ---


def test_bernoulli_draws_are_black_or_white_with_the_grey_level_as_mean():
    greys = np.array([0, 0.1, 0.5, 0.9, 1], np.float32)
    draws = BernoulliDraws()(tf.constant(np.tile(greys, (20_000, 1))), tf.constant([3, 4])).numpy()
    assert set(np.unique(draws)) == {0, 1}
    np.testing.assert_allclose(draws.mean(axis=0), greys, atol=0.015)
    assert (draws[:, 0] == 0).all() and (draws[:, -1] == 1).all()


def test_gaussian_noise_has_the_share_and_the_levels_it_names():
    x = np.full((4000, 8, 8, 1), 0.5, np.float32)
    noise = GaussianNoise(lowest=0.02, highest=0.06, share=0.7)(x, tf.constant([3, 4])).numpy() - x
    levels = noise.std(axis=(1, 2, 3))
    assert (levels > 0).mean() == pytest.approx(0.7, abs=0.03)
    levels = levels[levels > 0]
    assert levels.mean() == pytest.approx(0.04, abs=0.001)
    np.testing.assert_allclose(np.quantile(levels, [0.1, 0.9]), [0.024, 0.056], atol=0.002)
    assert abs(noise.mean()) < 0.001


@pytest.mark.parametrize("corrupt", [BernoulliDraws(), GaussianNoise()])
def test_corruption_repeats_with_its_seed_and_stays_in_range(corrupt):
    first, again, other = (corrupt(tf.constant(x_small), tf.constant([seed, 1])).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == x_small.shape and first.min() == 0 and first.max() == 1


@pytest.mark.parametrize(
    ("corrupt", "greys", "text"), [(None, 1, "the images"), (BernoulliDraws(), 0, "BernoulliDraws()")]
)
def test_the_encoder_sees_what_the_recipe_says(corrupt, greys, text, dense_vae):
    witness = Witness(1)
    log = train(dense_vae(witness), x_small, x_small, epochs=1, batch_size=32, corrupt=corrupt, live=False)
    assert float(witness.greys) == greys and log.recipe["encoder_input"] == text


# --- what a training does ---


@pytest.mark.slow
def test_two_trainings_with_one_seed_give_identical_weights(digits):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        vae = VAE(build_encoder(2), build_decoder(2))
        train(vae, digits[0][:400], digits[0][1900:], epochs=2, batch_size=80, corrupt=BernoulliDraws(), live=False)
        weights.append(vae.get_weights())
    assert have_equal_weights(*weights)


def test_another_seed_gives_another_training(dense_vae):
    def run(seed):
        keras.utils.set_random_seed(0)
        return train(dense_vae(), x_small, x_small, epochs=2, batch_size=32, seed=seed, live=False).train["loss"]

    assert run(seed=1) != run(seed=2)


def test_training_lowers_the_loss_and_logs_it(dense_vae, digits, capsys):
    vae = dense_vae(image_shape=(28, 28, 1))
    log = train(vae, digits[0][:1800], digits[0][1800:], epochs=3, batch_size=100, peak_learning_rate=0.02)
    assert log.epochs == len(log.validation["loss"]) == 3 and not log.interrupted
    assert (
        log.train["loss"][-1] < log.train["loss"][0] - 50
        and log.validation["loss"][-1] < log.validation["loss"][0] - 50
    )
    for part in (log.train, log.validation):
        np.testing.assert_allclose(part["loss"], np.add(part["reconstruction_loss"], part["kl_loss"]), rtol=1e-4)
    measured = vae.evaluate(digits[0][1800:], verbose=0, return_dict=True)
    assert log.validation["loss"][-1] == pytest.approx(measured["loss"], abs=2)
    assert log.step_epochs == sorted(log.step_epochs) and log.step_epochs[-1] == 3
    for epoch, loss in enumerate(log.train["loss"]):  # the points within an epoch average to its loss
        ends = [epoch, *(end for end in log.step_epochs if epoch < end <= epoch + 1)]
        inside = [loss for end, loss in zip(log.step_epochs, log.step_loss, strict=True) if epoch < end <= epoch + 1]
        assert np.average(inside, weights=np.diff(ends)) == pytest.approx(loss, rel=1e-3)
    lines = capsys.readouterr().out.splitlines()  # outside a notebook
    assert [line.split()[:2] for line in lines[:3]] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]
    assert float(re.search(r"validation ([\d.]+)", lines[2])[1]) == pytest.approx(log.validation["loss"][-1], abs=0.01)
    assert lines[3].startswith("3 epochs in")


def test_the_recipe_is_what_ran_and_frozen_layers_stay(dense_vae):
    vae = dense_vae(beta=2)
    vae.decoder.trainable = False
    encoder, decoder = vae.encoder.get_weights(), vae.decoder.get_weights()
    log = train(vae, x_small, x_small, epochs=2, batch_size=96, seed=5, corrupt=GaussianNoise(share=0.5), live=False)
    assert have_equal_weights(decoder, vae.decoder.get_weights())
    assert not have_equal_weights(encoder, vae.encoder.get_weights())
    expected = {
        "optimizer": "Muon",
        "batch_size": 96,
        "steps_per_epoch": 1,
        "epochs": 2,
        "warmup_steps": 1,
        "train_images": 96,
        "trained_parameters": 2 * (64 * 2 + 2),
        "peak_learning_rate": 0.002,
        "encoder_input": "GaussianNoise(lowest=0.1, highest=0.8, share=0.5)",
        "beta": 2.0,
        "seed": 5,
    }
    assert {name: log.recipe[name] for name in expected} == expected


def test_validation_reconstructs_y_validation(dense_vae, silence_decoder):
    """The decoder gives the logit −1 everywhere: the loss of an image is 64 softplus(−1) plus the sum of its pixels."""
    y = 1 - x_small[:50] ** 2
    log = train(
        silence_decoder(dense_vae()), x_small, x_small[:50], y_validation=y, epochs=1, batch_size=32, live=False
    )
    expected = 64 * (np.log1p(np.exp(-1)) + y.mean())
    assert log.validation["reconstruction_loss"][0] == pytest.approx(expected, rel=1e-4)


def test_a_denoiser_trains_by_the_same_recipe(capsys):
    x = keras.Input((8, 8, 1))
    layers = [keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(64)]
    denoiser = DenoisingAutoencoder(keras.Sequential([x, *layers, keras.layers.Reshape((8, 8, 1))]))
    clean = np.tile(np.float32([[0.02], [0.98]]), (96, 4, 8)).reshape(96, 8, 8, 1)  # stripes
    log = train(
        denoiser, clean, np.full_like(clean, 0.5), y_validation=clean, epochs=5, batch_size=16, corrupt=GaussianNoise()
    )
    assert list(log.train) == list(log.validation) == ["loss"] and log.recipe["beta"] is None
    assert log.recipe["peak_learning_rate"] == 0.008
    assert log.train["loss"][-1] < log.train["loss"][0] - 5
    assert log.validation["loss"][-1] == pytest.approx(denoiser.evaluate(0 * clean + 0.5, clean, verbose=0), rel=1e-3)
    assert "validation" in capsys.readouterr().out


def test_an_interrupt_keeps_what_was_trained(dense_vae, capsys):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    vae = dense_vae()
    before, fit = vae.get_weights(), vae.fit
    vae.fit = lambda *args, callbacks, **kwargs: fit(*args, callbacks=[*callbacks, Stop()], **kwargs)
    log = train(vae, x_small, x_small, epochs=5, batch_size=32)
    assert log.interrupted and log.epochs == 1 and len(log.train["loss"]) == 1
    assert not have_equal_weights(before, vae.get_weights())
    assert "Interrupted after 1 whole epoch" in capsys.readouterr().out


def test_an_interrupt_before_the_first_epoch_ends_cleanly(dense_vae, capsys):
    def fit(*args, **kwargs):
        raise KeyboardInterrupt

    vae = dense_vae()
    vae.fit = fit
    log = train(vae, x_small, x_small, epochs=1, batch_size=32)
    assert log.interrupted and log.epochs == 0
    assert "the model keeps the weights" in capsys.readouterr().out


def test_a_diverging_loss_stops_with_a_sentence(dense_vae):
    with pytest.raises(
        FloatingPointError, match=r"became (inf|nan) in epoch \d+, step \d+: .* lower peak_learning_rate"
    ):
        train(dense_vae(), x_small, x_small, epochs=20, batch_size=16, peak_learning_rate=1e6, live=False)


# --- bad input ---


def give_nan(x):
    return np.where(np.arange(len(x))[:, None, None, None] == 3, np.nan, x)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x_train": give_nan(x_small)}, "x_train must hold finite numbers"),
        ({"x_train": x_small * 255}, "x_train must lie in .* divide by 255"),
        ({"x_train": x_small[..., 0]}, "x_train must have the shape"),
        ({"x_train": x_small[:, :4]}, "x_train must have the shape"),
        ({"x_train": x_small[:7]}, "7 images do not fill one batch of 8"),
        ({"x_validation": x_small[:0]}, "x_validation must hold at least one image"),
        ({"x_validation": None}, "x_validation must hold finite numbers"),
        ({"y_validation": x_small[:3]}, "y_validation as many"),
        ({"y_validation": give_nan(x_small)}, "y_validation must hold finite numbers"),
        ({"epochs": 0}, "epochs must be a whole number"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"peak_learning_rate": 0.0}, "peak learning rate above 0"),
        ({"peak_learning_rate": np.nan}, "peak learning rate above 0"),
        ({"corrupt": 0.5}, "corrupt must be a function"),
        ({"corrupt": lambda x, seed: None}, "what corrupt returns must hold finite numbers"),
        ({"corrupt": lambda x, seed: x[..., 0]}, "what corrupt returns must have the shape"),
        ({"corrupt": lambda x, seed: 300 * x}, "what corrupt returns must lie in"),
        ({"corrupt": lambda x, seed: x[:1]}, "as many images as it is given"),
    ],
)
def test_bad_input_stops_before_the_first_step(change, sentence, dense_vae, capsys):
    vae = dense_vae()
    before = vae.get_weights()
    given = {"x_train": x_small, "x_validation": x_small[:10], "epochs": 1, "batch_size": 8, **change}
    with pytest.raises(ValueError, match=sentence) as error:
        train(vae, given.pop("x_train"), given.pop("x_validation"), **given)
    assert "\n" not in str(error.value) and not capsys.readouterr().out
    assert have_equal_weights(before, vae.get_weights())


@pytest.mark.parametrize("model", [None, "vae", build_encoder])
def test_a_model_that_is_none(model):
    with pytest.raises(ValueError, match="model must be a VAE"):
        train(model, x_small, x_small)


def test_an_error_in_the_users_own_function_keeps_its_traceback(dense_vae):
    def divide(x, seed):
        return x if tf.is_symbolic_tensor(x) else 1 // 0

    with pytest.raises(ZeroDivisionError) as error:
        train(dense_vae(), x_small, x_small, corrupt=divide, batch_size=8, live=False)
    assert error.traceback[-1].name == "divide"


# --- the display in a notebook ---


def test_the_notebook_display_is_replaced_in_place(dense_vae, monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, content):
            updates.append(content)

    monkeypatch.setattr(progress, "display", lambda *args, **options: (shown.append(options), Handle())[1])
    train(dense_vae(), x_small, x_small, epochs=2, batch_size=32, live=True)
    assert shown == [{"display_id": True}] * 2
    pictures = [content for content in updates if type(content).__name__ == "Image"]
    assert len(pictures) == 2 and pictures[0].data != pictures[1].data
    assert all(picture.data.startswith(b"\x89PNG") and 40 <= len(picture.alt) <= 250 for picture in pictures)
    assert updates[-1].data.startswith("2 epochs in")


# --- the recipe ---


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = training.learning_rate_schedule(100, peak=1e-2)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0 and rates.argmax() == 10 and rates.max() == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(0, abs=1e-8) and (np.diff(rates[10:]) <= 0).all()
    with pytest.raises(ValueError, match="steps must be at least 1"):
        training.learning_rate_schedule(0, 1e-2)


@pytest.mark.parametrize(("latent_dim", "peak"), [(2, 0.002), (8, 0.008), (10, 0.008)])
def test_the_highest_rate_rises_with_the_latent_dimensions_up_to_eight(latent_dim, peak):
    vae = VAE(build_encoder(latent_dim, (8, 8, 1)), build_decoder(latent_dim, (8, 8, 1)))
    log = train(vae, x_small, x_small[:10], epochs=1, batch_size=96, live=False)
    assert log.recipe["peak_learning_rate"] == peak


def test_the_optimizer_steps_equally_far_in_all_directions_of_a_matrix():
    gradient = rng.normal(size=(20, 30)).astype("float32")
    matrix, vector = keras.Variable(np.zeros((20, 30), "float32")), keras.Variable(np.ones(30, "float32"))
    training.build_optimizer(0.01).apply([gradient, np.zeros(30, "float32")], [matrix, vector])
    stretch = [np.linalg.cond(values) for values in (gradient, matrix.numpy())]
    assert stretch[0] > 6 and stretch[1] < 3
    np.testing.assert_array_equal(vector, np.ones(30))  # no gradient, no step: no weight decay
