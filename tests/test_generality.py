"""Everything works for images of other sizes and colours, for other layers, and for any number of classes."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vae_utils import (
    VAE,
    active_units,
    build_decoder,
    build_encoder,
    importance_weighted_bound,
    kl_per_dimension,
    latent_sliders,
    load_emoji,
    negative_elbo,
    noise_slider,
    plots,
    psnr,
    ssim,
    train,
)
from vae_utils.backend import keras

SHAPES = [(28, 28, 1), (32, 32, 1), (32, 32, 3), (64, 64, 3)]  # networks of the course
LAYERS = {
    "BatchNorm": {"first": [keras.layers.BatchNormalization]},
    "dropout": {"first": [lambda: keras.layers.Dropout(0.3)]},
    "L2": {"regularizer": keras.regularizers.L2(0.1)},
}
classes = pytest.mark.parametrize("classes", [2, 11])


@pytest.fixture(scope="module", params=[*SHAPES, *LAYERS], ids=str)
def trained(request, dense_vae):
    """A model after one epoch, and images of its shape: the emoji for 32×32×3, else random ones."""
    keras.utils.set_random_seed(0)
    case = request.param
    if case in LAYERS:
        case, options = (12, 16, 3), LAYERS[case]
        vae = dense_vae(
            *(make() for make in options.get("first", ())), image_shape=case, regularizer=options.get("regularizer")
        )
    else:
        vae = VAE(build_encoder(2, case), build_decoder(2, case))
    x = np.random.default_rng(0).random((64, *case), dtype=np.float32)
    x_train, x_test = (part[0] for part in load_emoji()) if case == (32, 32, 3) else (x[:48], x[48:])
    before = negative_elbo(vae, x_test)["loss"]
    log = train(vae, x_train, x_test, epochs=1, batch_size=48, live=False)
    return SimpleNamespace(vae=vae, x=x_test[:16], log=log, shape=case, before=before)


def read_png(png):
    picture = np.asarray(Image.open(io.BytesIO(png)))
    return picture[..., None] if picture.ndim == 2 else picture


def assert_shows(widget_picture, image):
    np.testing.assert_allclose(read_png(widget_picture.value), 255 * image, atol=0.51)


def test_fit_evaluate_encode_and_decode(trained):
    vae, x = trained.vae, trained.x
    vae.compile("adam", run_eagerly=True)
    assert np.isfinite(vae.fit(x, batch_size=8, verbose=0).history["loss"]).all()
    measured = vae.evaluate(x, verbose=0, return_dict=True)
    heads = [vae.encoder.get_layer(name) for name in ("z_mean", "z_log_var")]
    penalty = 0.1 * sum(np.square(head.kernel.numpy()).sum() for head in heads if head.kernel_regularizer)
    assert measured["loss"] == pytest.approx(measured["reconstruction_loss"] + measured["kl_loss"] + penalty, rel=1e-4)
    z_mean, z_log_var = vae.encode(x)
    assert z_mean.shape == z_log_var.shape == (16, 2)
    x_recon = vae.decode(z_mean)
    assert x_recon.shape == x.shape and x_recon.min() >= 0 and x_recon.max() <= 1
    np.testing.assert_allclose(vae.predict(x, verbose=0), x_recon, atol=1e-5)


def test_the_training_was_an_epoch_on_its_images(trained):
    assert trained.log.epochs == 1 and np.isfinite(trained.log.train["loss"]).all()
    if trained.shape == (32, 32, 3):
        assert trained.log.recipe["train_images"] == 2844
        assert trained.log.step_loss[-1] < trained.log.step_loss[0] - 100
        assert trained.log.validation["loss"][0] < trained.before - 100


def test_samples(trained):
    z = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    samples = trained.vae.decode(z)
    assert samples.shape == (5, *trained.shape) and np.isfinite(samples).all()
    np.testing.assert_allclose(trained.vae.decode(z[:1]), samples[:1], atol=1e-4)


def test_metrics(trained):
    vae, x = trained.vae, trained.x
    elbo = negative_elbo(vae, x, draws=5)
    assert elbo["loss"] == pytest.approx(elbo["reconstruction_loss"] + elbo["kl_loss"])
    assert kl_per_dimension(vae, x).sum() == pytest.approx(elbo["kl_loss"], rel=1e-4)
    assert importance_weighted_bound(vae, x, k=20) > -elbo["loss"] - 1
    assert active_units(vae, x).shape == (2,)
    noisy = np.clip(x + 0.1, 0, 1)
    np.testing.assert_allclose(psnr(x, noisy), -10 * np.log10(((x - noisy) ** 2).mean(axis=(1, 2, 3))), rtol=1e-5)
    np.testing.assert_allclose(ssim(x, x), 1)
    assert ssim(x, noisy).shape == (16,) and (ssim(x, noisy) < 1).all()


def test_plots(trained):
    vae, x = trained.vae, trained.x
    x_recon = vae.reconstruct(x)
    figures = [
        plots.image_rows({"image": x[:4], "reconstruction": x_recon[:4]}, "Rows"),
        plots.image_sheets({"image": x, "reconstruction": x_recon}, "Sheets"),
        plots.training_progress(trained.log, x[:4], x_recon[:4]),
    ]
    for figure, _ in figures:
        assert read_png(plots.to_png(figure, dpi=40)).std() > 1


@classes
def test_a_plane_names_every_class(classes, trained):
    z_mean, y = trained.vae.encode(trained.x)[0], np.arange(16) % classes
    figure, (ax,) = plots.make_figure("Codes", (7, 7.2))
    plots.scatter_classes(ax, z_mean, y)
    assert [text.get_text() for text in ax.texts] == [str(label) for label in range(classes)]
    assert len({tuple(dots.get_facecolor()[0]) for dots in ax.collections}) == classes
    plots.to_png(figure, dpi=40)


def test_sliders_show_what_is_decoded(trained):
    vae = trained.vae
    widget = latent_sliders(vae.decode, 2, kl_per_dimension=kl_per_dimension(vae, trained.x))
    widget.sliders[1].value = -2.0
    assert_shows(widget.picture, vae.decode(np.float32([[0, -2]]))[0])
    widget.close()


def test_noise_slider_shows_image_and_reconstruction(trained):
    widget = noise_slider(trained.vae.reconstruct, trained.x)
    widget.index.value, widget.level.value = 3, 0.0
    assert_shows(widget.pictures["original"], trained.x[3])
    assert_shows(widget.pictures["denoised"], trained.vae.reconstruct(trained.x[3:4])[0])
    widget.level.value = 0.9
    for kind in widget.kind.options:
        widget.kind.value = kind
        assert read_png(widget.pictures["noisy"].value).shape == trained.shape
        assert widget.captions["noisy"].value.startswith("noisy: PSNR ")
    widget.close()
