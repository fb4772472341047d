"""The recipe: it lowers the loss, repeats itself, survives an interrupt, and refuses bad input at once."""

import numpy as np
import pytest

from vae_utils import VAE, build_decoder, build_encoder, train, training
from vae_utils.backend import keras


def fresh(seed=0):
    keras.utils.set_random_seed(seed)
    return VAE(build_encoder(2), build_decoder(2), seed=seed)


def test_two_trainings_with_one_seed_give_identical_weights(digits):
    weights, losses = [], []
    for _ in range(2):
        vae = fresh()
        log = train(vae, digits[0][:1800], digits[0][1800:], epochs=2, live=False)
        weights.append(vae.get_weights())
        losses.append(log.train["loss"])
    assert losses[0] == losses[1]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_another_seed_gives_another_training(digits):
    x = digits[0]
    first = train(fresh(0), x[:1000], x[1800:], epochs=1, seed=0, live=False)
    other = train(fresh(1), x[:1000], x[1800:], epochs=1, seed=1, live=False)
    assert first.train["loss"] != other.train["loss"]


def test_training_lowers_the_loss_and_logs_it(digits, capsys):
    log = train(fresh(), digits[0][:1800], digits[0][1800:], epochs=3, live=False)
    assert log.epochs == 3 and len(log.validation["loss"]) == 3
    assert log.train["loss"][-1] < log.train["loss"][0] - 50
    assert log.validation["loss"][-1] < log.validation["loss"][0] - 10
    for part in (log.train, log.validation):
        np.testing.assert_allclose(part["loss"], np.add(part["reconstruction_loss"], part["kl_loss"]), rtol=1e-4)
    assert log.step_epochs == sorted(log.step_epochs) and log.step_epochs[-1] == 3
    epoch_of_point = np.ceil(log.step_epochs)  # points within an epoch average to its loss
    for epoch, loss in enumerate(log.train["loss"], 1):
        assert np.mean(np.array(log.step_loss)[epoch_of_point == epoch]) == pytest.approx(loss, rel=0.01)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]
    assert lines[3].startswith("3 epochs in")


def test_an_interrupt_keeps_what_was_trained(digits, capsys):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    vae = fresh()
    before = vae.get_weights()
    original = vae.fit
    vae.fit = lambda *args, callbacks, **kwargs: original(*args, callbacks=[*callbacks, Stop()], **kwargs)
    log = train(vae, digits[0][:1000], digits[0][1800:], epochs=5, live=False)
    assert log.interrupted and log.epochs == 1
    assert not all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))
    assert "keeps the weights" in capsys.readouterr().out


def test_an_interrupt_before_the_first_epoch_ends_cleanly(digits, capsys):
    vae = fresh()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    vae.fit = interrupted
    log = train(vae, digits[0][:1000], digits[0][1800:], epochs=1, live=False)
    assert log.interrupted and log.epochs == 0
    assert "after 0 whole epochs" in capsys.readouterr().out


def test_a_diverging_loss_stops_with_a_sentence(digits):
    with pytest.raises(FloatingPointError, match="lower peak_learning_rate"):
        train(fresh(), digits[0], digits[0][:100], epochs=20, peak_learning_rate=1e6, live=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: np.where(np.arange(len(x))[:, None, None, None] == 3, np.nan, x), "x_train holds NaN"),
        (lambda x: x * 255, "x_train must lie in"),
        (lambda x: x[..., 0], "x_train must have the shape"),
        (lambda x: x[:50], "50 images do not fill one batch of 256"),
    ],
)
def test_bad_training_images_stop_before_the_first_step(change, sentence, digits):
    vae = fresh()
    before = vae.get_weights()
    with pytest.raises(ValueError, match=sentence):
        train(vae, change(digits[0]), digits[0][:10], epochs=1, live=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": 1.5}, "epochs must be"),
        ({"peak_learning_rate": 0.0}, "peak learning rate"),
        ({"y_train": np.zeros((300, 28, 28, 1))}, "both y_train and y_validation"),
    ],
)
def test_bad_settings(arguments, sentence, digits):
    with pytest.raises(ValueError, match=sentence):
        train(fresh(), digits[0][:300], digits[0][:10], live=False, **arguments)


def test_empty_validation(digits):
    with pytest.raises(ValueError, match="x_validation is empty"):
        train(fresh(), digits[0], digits[0][:0], epochs=1, live=False)


def test_batches_show_every_image_once_per_epoch_in_a_new_order():
    x = np.arange(100, dtype=np.float32)
    batches = [batch.numpy() for batch in training.shuffled_batches(x, batch_size=10).take(20)]
    first, second = np.concatenate(batches[:10]), np.concatenate(batches[10:])
    assert sorted(first) == sorted(second) == x.tolist()
    assert not np.array_equal(first, second) and not np.array_equal(first, x)


def test_batches_keep_input_and_target_together():
    x = np.arange(40, dtype=np.float32)
    for a, b in training.shuffled_batches(x, 2 * x, batch_size=8).take(5):
        np.testing.assert_array_equal(2 * a, b)
    with pytest.raises(ValueError, match="same length"):
        training.shuffled_batches(x, x[:3], batch_size=2)


def test_a_denoiser_sees_the_noisy_input_and_the_clean_target(digits):
    from vae_utils.data import add_gaussian_noise

    clean = digits[0][:256]
    noisy = add_gaussian_noise(clean, 0.5, np.random.default_rng(0))
    vae = fresh()
    seen = []
    original = vae.elbo_terms
    vae.elbo_terms = lambda x, y=None, **kwargs: (seen.append((x, y)), original(x, y, **kwargs))[1]
    vae.compile("adam", run_eagerly=True)
    vae.fit(noisy, clean, batch_size=256, shuffle=False, verbose=0)
    x, y = (np.array(tensor) for tensor in seen[0])
    np.testing.assert_array_equal(x, noisy)
    np.testing.assert_array_equal(y, clean)


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = training.learning_rate_schedule(100, peak=1e-2)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0 and rates.argmax() == 10 and rates.max() == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(0, abs=1e-8) and (np.diff(rates[10:]) <= 0).all()
    with pytest.raises(ValueError, match="steps"):
        training.learning_rate_schedule(0)


def test_the_notebook_display_is_replaced_in_place(digits, monkeypatch):
    import IPython.display

    shown, updates = [], []

    class Handle:
        def update(self, content):
            updates.append(content)

    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: (shown.append(k), Handle())[1])
    train(fresh(), digits[0][:1000], digits[0][1800:], epochs=2, live=True)
    assert shown == [{"display_id": True}] * 2
    pictures = [content for content in updates if isinstance(content, IPython.display.Image)]
    assert len(pictures) == 2 and all(picture.data.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0].data != pictures[1].data
    assert updates[-1].data.startswith("2 epochs in")


def test_the_optimizer_steps_equally_far_in_all_directions_of_a_matrix():
    gradient = np.random.default_rng(0).normal(size=(20, 30)).astype("float32")
    matrix, vector = keras.Variable(np.zeros((20, 30), "float32")), keras.Variable(np.ones(30, "float32"))
    training.build_optimizer(0.01).apply([gradient, np.zeros(30, "float32")], [matrix, vector])
    stretch = [np.linalg.cond(values) for values in (gradient, matrix.numpy())]
    assert stretch[0] > 6 and stretch[1] < 3
    np.testing.assert_array_equal(vector, np.ones(30))  # no gradient, no step: no weight decay
