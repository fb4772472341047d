"""The pictures in Images/ and the README's numbers: built the same way twice, true to what they name."""

import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tools import images
from vae_utils import VAE, build_decoder, build_encoder, data, load_mnist, load_pretrained, plots, pretrained

SPEED = {
    "machine": "a machine", "versions": "versions", "target_loss": 151.96, "usual_epochs": 30, "usual_seconds": 970.6,
    "our_digits": 30_000, "our_seconds": 9.71, "our_loss": 148.31, "ratio": 100.0, "fit_over_bare_step": 1.01,
    "usual": {"losses": [151.96] * 30, "seconds": [32.3] * 30}, "usual_pace": None,
    "ours": [{"seconds": 9.71, "loss": 148.31, "recipe": {"batch_size": 96}}],
}  # fmt: skip


@pytest.mark.ledger
def test_every_picture_is_committed():
    for name, _ in images.list_files():
        path = images.IMAGES_DIR / name
        assert path.is_file(), f"{name} is missing: python3 run.py images"
        assert path.stat().st_size < 3_000_000


@pytest.mark.ledger
def test_the_numbers_in_the_readme_are_fresh():
    text = images.README.read_text(encoding="utf-8")
    assert images.renew_numbers(text) == text, "stale: python3 run.py images"


def test_a_readme_without_a_place_for_numbers_is_refused(monkeypatch):
    monkeypatch.setattr(images, "write_blocks", lambda: {"model": "numbers"})
    with pytest.raises(ValueError, match="lacks the markers <!-- model numbers -->"):
        images.renew_numbers("no markers")


def test_only_what_stands_between_the_markers_is_renewed(monkeypatch):
    monkeypatch.setattr(images, "write_blocks", lambda: {"a": "new a", "b": "new\nb"})
    text = (
        "before\n<!-- a numbers -->\nold\n<!-- end of a numbers -->\nmiddle\n"
        "<!-- b numbers --><!-- end of b numbers -->!"
    )
    renewed = images.renew_numbers(text)
    assert renewed == (
        "before\n<!-- a numbers -->\nnew a\n<!-- end of a numbers -->\nmiddle\n"
        "<!-- b numbers -->\nnew\nb\n<!-- end of b numbers -->!"
    )
    assert images.renew_numbers(renewed) == renewed


def test_the_digits_are_two_of_each_class_in_order():
    x = images.choose_digits()
    assert x.shape == (20, 28, 28, 1)
    (_, _), (x_test, y_test) = load_mnist()
    labels = [y_test[np.flatnonzero((x_test == image).all(axis=(1, 2, 3)))[0]] for image in x]
    assert labels == [*range(10), *range(10)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Models of 2 and 3 dimensions that nobody trained, in place of the shipped ones, and 300 test digits."""
    folder, patch = tmp_path_factory.mktemp("assets"), pytest.MonkeyPatch()
    few = load_mnist(limit=300)
    patch.setattr(data, "load_mnist", lambda: few)
    patch.setattr(pretrained, "ASSETS", folder)
    patch.setattr(pretrained, "SIZES", (2, 3))
    for latent_dim in (2, 3):
        vae = VAE(build_encoder(latent_dim), build_decoder(latent_dim))
        vae.save_weights(pretrained.weights_path(pretrained.name_model(latent_dim)))
        build_encoder(latent_dim).save_weights(pretrained.weights_path(pretrained.name_model(latent_dim, True)))
    images.measure_gallery.cache_clear()
    images.make_rows.cache_clear()
    yield few
    patch.undo()
    images.measure_gallery.cache_clear()
    images.make_rows.cache_clear()


def test_pictures_of_a_size_repeat(untrained):
    first, second = (list(images.list_size_files(2)) for _ in range(2))
    assert [name.rpartition("/")[2] for name, _ in first] == [
        "variational_encoder_L2_E_30.png",
        "original_images.png",
        "prediction_from_original_images.png",
        "Noisy_images.png",
        "prediction_from_noisy_image.png",
    ]
    for (name, build), (other, build_again) in zip(first, second, strict=True):
        assert name == other and build() == build_again()


def test_every_size_has_the_same_digits_with_the_same_noise(untrained):
    two, three = images.make_rows(2), images.make_rows(3)
    for name in ("original_images", "Noisy_images"):
        np.testing.assert_array_equal(two[name][0], three[name][0])
    noise = two["Noisy_images"][0] - two["original_images"][0]
    assert 0.3 < noise.std() < 0.5  # level 0.5, clipped


def test_the_noise_is_removed_by_the_second_encoder(untrained):
    denoiser, x = load_pretrained(2, denoising=True), images.choose_digits()
    noisy = images.make_rows(2)["Noisy_images"][0]
    denoised, _ = images.make_rows(2)["prediction_from_noisy_image"]
    np.testing.assert_array_equal(denoised, denoiser.reconstruct(noisy))
    predicted, _ = images.make_rows(2)["prediction_from_original_images"]
    np.testing.assert_array_equal(predicted, load_pretrained(2).reconstruct(x))


def test_titles_carry_the_measured_decibels(untrained, monkeypatch):
    measured = {"prediction": 15.44, "noisy": 9.36, "vae_on_noisy": 11.02, "denoised": 14.81}
    monkeypatch.setattr(images, "measure_gallery", lambda latent_dim: measured)
    images.make_rows.cache_clear()
    titles = [title for _, title in images.make_rows(2).values()]
    images.make_rows.cache_clear()
    assert titles == [
        "Test digits",
        "Reconstructions from 2 latent dimensions (15.4 dB)",
        "The same digits with Gaussian noise of level 0.5 (9.4 dB)",
        "Denoised with 2 latent dimensions (14.8 dB)",
    ]


def test_decibels_are_means_over_the_test_digits(untrained):
    (_, _), (x_test, _) = untrained
    x_recon = load_pretrained(2).reconstruct(x_test)
    errors = ((x_test - x_recon).astype(np.float64) ** 2).mean(axis=(1, 2, 3))
    assert images.measure_gallery(2)["prediction"] == pytest.approx(-10 * np.log10(errors).mean(), abs=1e-3)
    assert images.measure_gallery(2)["noisy"] == pytest.approx(9.37, abs=0.1)


def test_the_story_shows_the_same_noisy_digits_to_both_encoders(untrained, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "image_rows", lambda rows, title: (drawn.append((rows, title)), (plt.figure(), None))[1])
    images.draw_story()
    rows, title = drawn[0]
    noisy, by_vae, by_denoiser = rows.values()
    np.testing.assert_array_equal(by_vae, load_pretrained(3).reconstruct(noisy))
    np.testing.assert_array_equal(by_denoiser, load_pretrained(3, denoising=True).reconstruct(noisy))
    assert "3 latent dimensions" in title and all("dB" in name for name in rows)


def test_the_architecture_is_a_thousand_pixels_high(untrained):
    picture = Image.open(io.BytesIO(images.draw_architecture(load_pretrained(2))))
    assert abs(picture.height - 1000) < 15


def test_a_gif_loops_and_keeps_its_frames():
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 100, 200)]
    gif = Image.open(io.BytesIO(images.to_gif(frames)))
    assert gif.n_frames == 3 and gif.info["loop"] == 0 and gif.size == (30, 20)


def test_a_closed_path_passes_its_points_and_closes():
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    path = images.close_path(points, 40)
    np.testing.assert_allclose(path[::10], points, atol=1e-9)
    steps = np.linalg.norm(np.diff(np.vstack([path, path[:1]]), axis=0), axis=1)
    assert steps.max() < 3 * steps.min()


def test_no_title_of_the_moving_codes_names_a_state_that_is_not_shown(monkeypatch):
    rng = np.random.default_rng(0)
    layouts, y = {n: rng.uniform(-1, 1, (50, 2)) for n in (2, 3, 4)}, np.arange(50) % 10
    drawn, frame = [], np.zeros((9, 9, 3), np.uint8)
    monkeypatch.setattr(images, "lay_out_codes", lambda: (layouts, y))
    monkeypatch.setattr(images, "measure_neighbours", lambda latent_dim: latent_dim / 10)
    monkeypatch.setattr(images, "draw_codes", lambda layout, y, title: (drawn.append((layout, title)), frame)[1])
    images.animate_codes(moving_frames=4)
    assert len(drawn) == 3 * 4
    for layout, title in drawn:
        resting = [n for n, codes in layouts.items() if np.array_equal(layout, codes)]
        assert ("accuracy" in title) == bool(resting)
        if resting:
            assert title.startswith(f"{resting[0]} latent") and f"{resting[0] / 10:.1%}" in title
        else:
            assert title.startswith("from ")
    assert [title for _, title in drawn[1:4]] == ["from 2 to 3 latent dimensions\n"] * 3


def test_the_classes_keep_their_labels_while_the_codes_move(monkeypatch):
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    images.draw_codes(np.random.default_rng(0).uniform(-1, 1, (50, 2)), np.arange(50) % 10, "from 2 to 3")
    (ax,) = figures[0].axes
    assert [text.get_text() for text in ax.texts] == [str(label) for label in range(10)]


@pytest.mark.parametrize("pace", [None, [32.0, 33.0]])
def test_the_readme_says_how_the_speed_is_known(pace):
    text = images.describe_training_speed({**SPEED, "usual_pace": pace})
    assert "**100 times** faster" in text and "over 30,000 of these digits in batches of 96" in text
    assert "30 epochs and 971 s" in text and "152.0 nats" in text
    assert ("earlier full run" in text) == bool(pace) and ("epoch by epoch in the same run" in text) != bool(pace)
    assert "test losses" in text and "training loss, on all 70,000 digits" in text


def test_the_gallery_lays_four_rows_of_a_size_one_above_the_other(monkeypatch):
    monkeypatch.setattr(pretrained, "pretrained_record", lambda latent_dim: {"test_loss": 100.0 + latent_dim})
    numbers = {"prediction": 15.44, "noisy": 9.36, "vae_on_noisy": 11.02, "denoised": 14.81}
    text = images.describe_gallery({"2": numbers, "10": numbers})
    assert text.count("### ") == 2 and "Test loss 102.0 nats" in text and "Test loss 110.0 nats" in text
    pictures = [line for line in text.splitlines() if line.startswith("![")]
    assert [line.rpartition("/")[2].rstrip("\\ )") for line in pictures[:4]] == [
        "original_images.png",
        "prediction_from_original_images.png",
        "Noisy_images.png",
        "prediction_from_noisy_image.png",
    ]
    assert all(40 <= len(line[2:].partition("]")[0]) <= 250 for line in pictures)
    assert "9.4 dB" in text and "14.8 dB" in text and "|" not in text


def test_the_command_builds_every_picture_and_writes_the_numbers(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- a numbers -->\n<!-- end of a numbers -->")
    monkeypatch.setattr(images, "README", readme)
    monkeypatch.setattr(images, "GALLERY_RECORD", tmp_path / "gallery.json")
    monkeypatch.setattr(images, "list_files", lambda: iter([("folder/one.png", lambda: b"picture")]))
    monkeypatch.setattr(images, "measure_gallery", lambda latent_dim: {"noisy": latent_dim / 2})
    monkeypatch.setattr(images, "write_blocks", lambda: {"a": str(json.loads(images.GALLERY_RECORD.read_text())["3"])})
    assert images.main(["--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/folder/one.png").read_bytes() == b"picture"
    assert "{'noisy': 1.5}" in readme.read_text()


def drawn_in_order(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_the_drawing_of_a_vae_names_every_layer_and_leads_from_the_sampler_to_the_decoder():
    encoder, decoder = build_encoder(2, (32, 32, 3)), build_decoder(2, (32, 32, 3))
    columns = images.describe_network(encoder, decoder)
    figure, ax = images.plot_architecture(columns, "title")
    words = {text.get_text() for text in ax.texts}
    assert "Sampler: one draw from the approximate posterior" in words
    assert {"Encoder", "Decoder", "z_mean: Dense  |  z_log_var: Dense", "32 × 32 × 3"} <= words
    assert all(f"{layer.name}: " in drawn_in_order(ax) for layer in encoder.layers + decoder.layers)
    counts = re.findall(r"([\d,]+) parameters", drawn_in_order(ax))
    assert sum(int(count.replace(",", "")) for count in counts) == encoder.count_params() + decoder.count_params()
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == (len(columns["Encoder"]) - 1) + (len(columns["Decoder"]) - 1) + 1
    (path,) = ax.lines  # from the box of the sampler, the last of the left column, up to that of z
    sampler = next(text for text in ax.texts if text.get_text().startswith("Sampler"))
    z = next(text for text in ax.texts if text.get_text().startswith("z: Input"))
    start, end = path.get_xydata()[[0, -1]]
    assert abs(start[1] - sampler.get_position()[1]) < 0.3 and abs(end[1] - z.get_position()[1]) < 0.3
    assert sampler.get_position()[0] < start[0] < end[0] < z.get_position()[0]
    figure.canvas.draw()
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for text in filter(plt.Text.get_text, ax.texts):  # what begins in a box ends in it
        left, right = text.get_window_extent().p0, text.get_window_extent().p1
        assert all(box.contains(*right) for box in boxes if box.contains(*left)), text.get_text()
