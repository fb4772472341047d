"""The widgets without a browser: the pure functions, and panels whose controls are moved from Python."""

import asyncio
import gc
import io
import json
import subprocess
import sys
import weakref
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from vae_utils import widgets

SPEED_RECORD = Path(__file__).parent.parent / "benchmarks" / "slider_speed.json"


def pixels(image):
    """What a lasting picture shows, as an array."""
    return np.asarray(Image.open(io.BytesIO(image.value)))


def decode(z):
    """A decoder one can predict: the grey level grows with the first coordinate, the top row with the last."""
    images = np.ones((len(z), 28, 28, 1), np.float32) * np.clip(0.5 + z[:, 0] / 6, 0, 1)[:, None, None, None]
    images[:, 0, :, 0] = np.clip(0.5 + z[:, -1:] / 6, 0, 1)
    return images


def encode(x):
    z_mean = np.stack([x.mean(axis=(1, 2, 3)), x[:, :14].mean(axis=(1, 2, 3))], axis=1)
    return z_mean, np.full_like(z_mean, -2.0)


@pytest.fixture
def some(digits):
    """Codes, labels and images of 200 digits, in two dimensions."""
    x, y = digits[0][:200], digits[1][:200]
    return np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32), y, x


def every_panel(some, decode=decode):
    z_mean, y, x = some
    return [
        widgets.latent_sliders(decode, 2, kl_per_dimension=[0.001, 2.0], starts={"far": np.array([9.0, -9.0])}),
        widgets.latent_plane(decode, z_mean, y, x),
        widgets.interpolation(decode, z_mean, y, x),
        widgets.noise_slider(lambda noisy: noisy, x),
        widgets.draw_a_digit(encode, decode, z_mean, y, x),
    ]


def controls(panel):
    kinds = (ipywidgets.FloatSlider, ipywidgets.BoundedIntText, ipywidgets.Dropdown, ipywidgets.Button)
    return [widget for widget in widgets._inside(panel) if isinstance(widget, kinds)]


# --- pure functions ----------------------------------------------------------------------------------


def test_the_room_loads_no_keras():
    code = "import sys, vae_utils.widgets; print({'tensorflow', 'keras', 'ipycanvas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("shape", [(28, 28), (5, 9, 3)])
def test_a_png_holds_the_pixels_enlarged(shape):
    picture = np.random.default_rng(0).random(shape)
    shown = np.asarray(Image.open(io.BytesIO(widgets.png_bytes(picture, scale=3))))
    assert shown.shape[:2] == (3 * shape[0], 3 * shape[1])
    for offset in range(3):
        np.testing.assert_array_equal(shown[offset::3, offset::3], np.rint(picture * 255))


def test_a_png_clips_and_takes_a_palette():
    assert np.asarray(Image.open(io.BytesIO(widgets.png_bytes(np.array([[-1.0, 2.0]]))))).tolist() == [[0, 255]]
    palette = np.array([[0, 0, 0], [10, 20, 30]], np.uint8)
    shown = Image.open(io.BytesIO(widgets.png_bytes(np.array([[1, 0]], np.uint8), palette=palette)))
    assert np.asarray(shown.convert("RGB")).tolist() == [[[10, 20, 30], [0, 0, 0]]]


def test_noise_scales_and_does_not_flicker(digits):
    x = digits[0][:1]
    once, again = (widgets.noisy(x, "Gaussian", 0.5, seed=3) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(widgets.noisy(x, "salt and pepper", 0.0), x)
    assert set(np.unique(widgets.noisy(x, "salt and pepper", 1.0))) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="choose from Gaussian, salt and pepper"):
        widgets.noisy(x, "rain", 0.5)


def test_information_order():
    assert widgets.information_order([0.1, 3.0, 0.1, 1.0]).tolist() == [1, 3, 0, 2]


def test_both_paths_meet_their_ends():
    a, b = np.array([1.0, 2.0, 0.0]), np.array([-1.0, 0.5, 2.0])
    for path in (widgets.straight, widgets.spherical):
        np.testing.assert_allclose(path(a, b, np.array([0.0, 1.0])), [a, b], atol=1e-12)
    np.testing.assert_allclose(widgets.straight(a, b, 0.5), (a + b) / 2)


def test_the_spherical_path_keeps_the_length_and_a_steady_pace():
    a, b = np.array([2.0, 0.0]), np.array([0.0, 2.0])
    path = widgets.spherical(a, b, np.linspace(0, 1, 10))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2)
    np.testing.assert_allclose(np.diff(np.arctan2(path[:, 1], path[:, 0])), np.pi / 18)
    assert np.linalg.norm(widgets.straight(a, b, 0.5)) < 1.5


@pytest.mark.parametrize("b", [[0.0, 0.0], [2.0, 4.0], [-1.0, -2.0]])
def test_where_no_arc_is_defined_the_spherical_path_is_straight(b):
    a, b, t = np.array([1.0, 2.0]), np.array(b), np.linspace(0, 1, 5)
    np.testing.assert_allclose(widgets.spherical(a, b, t), widgets.straight(a, b, t))


def test_the_nearest_are_those_of_a_full_sort():
    rng = np.random.default_rng(0)
    z_mean, z = rng.standard_normal((500, 10)).astype(np.float32), rng.standard_normal(10)
    found, distances = widgets.nearest(z_mean, z, 8)
    expected = np.linalg.norm(z_mean - z, axis=1)
    assert found.tolist() == np.argsort(expected)[:8].tolist()
    np.testing.assert_allclose(distances, np.sort(expected)[:8], rtol=1e-5)
    assert widgets.nearest(z_mean[:3], z, 8)[0].shape == (3,)


def test_the_map_has_a_dot_where_a_code_lies():
    points, y = np.array([[1.2, -0.7], [99.0, 0.0]]), np.array([4, 5])
    sheet = widgets.plane_map(points, y, names=False)
    row, column = widgets.to_pixels(points[:1])[0]
    assert sheet[row, column] == widgets._DOTS + 4 and not (sheet == widgets._DOTS + 5).any()
    assert row > widgets.MAP_SIZE / 2 and column > widgets.MAP_SIZE / 2
    assert (widgets.plane_map(points[:1], y[:1]) == widgets._NAMES + 4).any()


@pytest.mark.parametrize("point", [(0.0, 0.0), (3.0, -3.0), (-50.0, 50.0)])
def test_a_mark_stays_on_the_map_and_leaves_the_map_alone(point):
    sheet = np.zeros((widgets.MAP_SIZE, widgets.MAP_SIZE), np.uint8)
    marked = widgets.with_marks(sheet, np.array([point]), widgets.STRAIGHT, 6)
    assert (marked == widgets.STRAIGHT).sum() >= 28 and not sheet.any()


def test_cells_know_their_most_frequent_class():
    points = np.array([[-3.0, 3.0], [-3.1, 2.9], [-2.9, 3.1], [0.0, 0.0], [9.0, 9.0]])
    centres, classes = widgets.cell_classes(points, np.array([7, 7, 1, 3, 9]))
    np.testing.assert_allclose(centres[0], [-3, 3])
    assert classes[0] == 7 and classes[24] == 3 and (classes == -1).sum() == 47


# --- a drawing ---------------------------------------------------------------------------------------


def test_a_sketch_is_fitted_and_centred_by_mass():
    sketch = np.zeros((200, 200))
    sketch[10:110, 140:170] = 1
    digit = widgets.as_mnist(sketch)
    assert digit.shape == (28, 28, 1) and digit.dtype == np.float32 and digit.min() >= 0 and digit.max() <= 1
    rows, columns = np.nonzero(digit[..., 0])
    assert np.ptp(rows) + 1 == 20 and np.ptp(columns) + 1 == 6
    middle = [(digit[..., 0].sum(axis=1 - axis) @ (np.arange(28) + 0.5)) / digit.sum() for axis in (0, 1)]
    np.testing.assert_allclose(middle, 14.5, atol=0.51)


def test_real_digits_pass_nearly_unchanged(digits):
    errors = [np.abs(widgets.as_mnist(digit[..., 0]) - digit).mean() for digit in digits[0][:50]]
    assert np.median(errors) < 0.01


def test_size_and_place_of_a_drawing_do_not_matter():
    stroke = np.array([(20.0, 20.0), (60.0, 20.0), (35.0, 90.0)])
    small = widgets.as_mnist(widgets.rasterise([stroke.tolist()]))
    large = widgets.as_mnist(widgets.rasterise([(1.8 * stroke + 10).tolist()]))
    assert np.abs(small - large).mean() < 0.02 and small.sum() > 20


def test_extreme_drawings():
    with pytest.raises(ValueError, match="empty: draw a digit first"):
        widgets.as_mnist(np.zeros((224, 224)))
    with pytest.raises(ValueError, match="height, width"):
        widgets.as_mnist(np.zeros((28, 28, 1)))
    for strokes in ([[(5.0, 5.0)]], [[(0.0, 0.0), (224.0, 224.0)]], [[(-50.0, 100.0), (300.0, 100.0)]]):
        assert widgets.as_mnist(widgets.rasterise(strokes)).max() > 0.5
    assert widgets.as_mnist(np.ones((224, 224))).sum() == pytest.approx(400)
    assert not widgets.rasterise([]).any()


# --- latest wins -------------------------------------------------------------------------------------


def test_without_a_loop_an_update_is_made_at_once():
    calls = []
    refresh = widgets.LatestWins(lambda: calls.append(1), delay=10)
    refresh()
    assert calls == [1]


def test_on_a_loop_requests_are_merged():
    calls = []

    async def burst():
        refresh = widgets.LatestWins(lambda: calls.append(1), delay=0.01)
        for _ in range(50):
            refresh()
        assert not calls
        await asyncio.sleep(0.1)
        refresh()
        refresh.close()
        await asyncio.sleep(0.05)

    asyncio.run(burst())
    assert calls == [1]


def test_requests_in_a_hold_and_during_an_update_are_merged():
    calls = []

    def update():
        calls.append(1)
        if len(calls) == 1:
            refresh(), refresh()

    refresh = widgets.LatestWins(update)
    with refresh.hold():
        refresh(), refresh(), refresh()
    assert len(calls) == 2


def test_an_update_that_raises_does_not_block_the_next():
    refresh = widgets.LatestWins(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            refresh()


# --- panels ------------------------------------------------------------------------------------------


def test_the_picture_is_the_decoders(some):
    panel = widgets.latent_sliders(decode, 3)
    picture = panel.picture
    for value in (-3.0, 0.4, 3.0):
        panel.sliders[0].value = value
        expected = np.rint(decode(np.array([[value, 0, 0]]))[0, ..., 0] * 255)
        np.testing.assert_allclose(pixels(picture), expected, atol=1)
    assert panel.picture is picture


def test_sliders_stand_in_the_order_of_information():
    panel = widgets.latent_sliders(decode, 3, kl_per_dimension=[0.5, 0.001, 2.0])
    shown = [w.description for w in widgets._inside(panel) if isinstance(w, ipywidgets.FloatSlider)]
    assert shown == ["z[2]", "z[0]", "z[1]"]
    words = [w.value for w in widgets._inside(panel) if isinstance(w, ipywidgets.HTML)]
    assert sum("carries no information" in text for text in words) == 1 and any("2.00 nats" in text for text in words)


def test_a_slider_without_information_says_why():
    panel = widgets.latent_sliders(lambda z: decode(z[:, :1]), 2, kl_per_dimension=[2.0, 0.001])
    before = panel.picture.value
    panel.sliders[1].value = 2
    assert "carries 0.001 nats, so nothing happens" in panel.message.value and "0.000" in panel.message.value
    assert panel.picture.value == before
    panel.sliders[0].value = 2
    assert "nothing happens" not in panel.message.value


def test_a_wrong_list_of_information_is_noticed():
    panel = widgets.latent_sliders(decode, 2, kl_per_dimension=[0.001, 2.0])
    panel.sliders[0].value = 3
    assert "is the list this decoder" in panel.message.value


def test_reset_start_and_random_draw_make_one_picture_each():
    calls = []
    panel = widgets.latent_sliders(
        lambda z: calls.append(z.copy()) or decode(z), 10, starts={"a 7": np.arange(10) / 5, "far": np.full(10, 8.0)}
    )
    calls.clear()
    panel.start.value = "a 7"
    np.testing.assert_allclose(calls[0][0], np.arange(10) / 5, atol=1e-6)
    panel.draw.click()
    assert np.ptp(panel.z) > 0.5 and np.abs(panel.z).max() <= 3
    panel.reset.click()
    np.testing.assert_allclose(panel.z, np.arange(10) / 5, atol=1e-6)
    panel.start.value = "far"
    assert "beyond the sliders (up to 8.0)" in panel.message.value and (panel.z == 3).all()
    assert len(calls) == 4


def test_a_cell_of_the_map_moves_both_sliders(some):
    calls = []
    panel = widgets.latent_plane(lambda z: calls.append(1) or decode(z), *some)
    calls.clear()
    before = panel.map.value
    panel.cells[0].click()
    np.testing.assert_allclose(panel.z, [-3, 3])
    assert len(calls) == 1 and panel.map.value != before
    assert all(button.tooltip.startswith("z[0] = ") for button in panel.cells)


def test_interpolation_shows_both_paths(some):
    panel = widgets.interpolation(decode, *some)
    panel.t.value = 0
    np.testing.assert_array_equal(pixels(panel.pictures["straight"]), pixels(panel.pictures["spherical"]))
    before = panel.map.value
    panel.t.value = 0.5
    assert panel.map.value != before
    panel.start.value = panel.end.value
    panel.t.value = 1
    assert not panel.message.value or "Error" not in panel.message.value


def test_noise_levels_reach_both_ends(digits):
    panel = widgets.noise_slider(lambda noisy: noisy, digits[0][:5])
    for kind in panel.kind.options:
        panel.kind.value = kind
        panel.level.value = 0
        assert "the same pixels" in panel._captions["noisy"].value
        panel.level.value = 1
        assert "dB" in panel._captions["cleaned"].value
    panel.digit.value = 4
    np.testing.assert_array_equal(pixels(panel.pictures["original"])[::7, ::7], np.rint(digits[0][4, ..., 0] * 255))


def test_an_empty_drawing_gives_a_sentence_and_a_stroke_a_digit(some):
    panel = widgets.draw_a_digit(encode, decode, *some)
    assert "The drawing is empty" in panel.message.value
    panel.pen_move(50, 50)
    assert not panel.strokes
    panel.pen_down(80, 40)
    panel.pen_move(90, 180)
    panel.pen_up()
    panel.pen_move(0, 0)
    assert "drawing is empty" not in panel.message.value and "z[0] = " in panel._code.value
    expected = np.rint(widgets.as_mnist(widgets.rasterise(panel.strokes))[..., 0] * 255)
    np.testing.assert_array_equal(pixels(panel.pictures["seen"])[::4, ::4], expected)
    panel.sample.value = 3
    np.testing.assert_array_equal(pixels(panel.pictures["seen"])[::4, ::4], np.rint(some[2][3, ..., 0] * 255))
    panel.clear.click()
    assert "The drawing is empty" in panel.message.value and panel.sample.value == -1


def test_every_control_has_a_label_and_survives_its_ends(some):
    for panel in every_panel(some):
        found = controls(panel)
        assert found and all(control.description for control in found)
        for control in found:
            if hasattr(control, "min"):
                for end in (control.min, control.max):
                    control.value = end
                    assert "Error" not in panel.message.value


def test_the_first_child_has_a_stable_class(some):
    names = [panel.children[0]._dom_classes[0] for panel in every_panel(some)]
    assert names == [
        "vae-latent-sliders",
        "vae-latent-plane",
        "vae-interpolation",
        "vae-noise-slider",
        "vae-draw-a-digit",
    ]


@pytest.mark.parametrize("latent_dim", [1, 10])
def test_one_and_ten_dimensions(latent_dim, digits):
    x, y = digits[0][:100], digits[1][:100]
    z_mean = np.random.default_rng(0).standard_normal((100, latent_dim))

    def encode_to(x):
        return z_mean[: len(x)], np.zeros((len(x), latent_dim))

    panels = [
        widgets.latent_sliders(decode, latent_dim, kl_per_dimension=np.ones(latent_dim)),
        widgets.latent_plane(decode, z_mean, y, x),
        widgets.interpolation(decode, z_mean, y, x),
        widgets.draw_a_digit(encode_to, decode, z_mean, y, x),
    ]
    panels[1].cells[0].click()
    panels[3].pen_down(100, 100)
    assert all("Error" not in panel.message.value for panel in panels)
    assert len(panels[1].sliders) == min(latent_dim, 2)


def test_a_decoder_that_raises_is_reported_and_the_sliders_stay_alive(some):
    broken = [True]

    def fragile(z):
        if broken[0]:
            raise RuntimeError("no <weights>")
        return decode(z)

    for panel in every_panel(some, fragile)[:3]:
        assert "RuntimeError: no &lt;weights&gt;" in panel.message.value
    panel = widgets.latent_sliders(fragile, 2)
    broken[0] = False
    panel.sliders[0].value = 1
    assert not panel.message.value or "Error" not in panel.message.value
    assert pixels(panel.picture).shape == (28, 28)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(lambda z: np.zeros((2, 28)), "decode must give"), (lambda z: decode(z) * np.nan, "NaN or infinite pixels")],
)
def test_a_decoder_that_gives_rubbish_is_reported(wrong, words):
    assert words in widgets.latent_sliders(wrong, 2).message.value


def test_a_closed_panel_lets_go_of_everything(some):
    calls = []
    panels = every_panel(some, lambda z: calls.append(1) or decode(z))
    while panels:
        panel = panels.pop()
        moved = controls(panel)
        panel.close()
        panel.close()
        calls.clear()
        for control in moved:
            if isinstance(control, ipywidgets.FloatSlider):
                control.value = control.max
            elif isinstance(control, ipywidgets.Button):
                control.click()
        assert not calls
        gone = weakref.ref(panel)
        del panel, moved, control
        gc.collect()
        assert gone() is None


def test_running_a_cell_again_closes_what_it_had_made(monkeypatch):
    monkeypatch.setattr(widgets, "_this_cell", lambda: ("cell", "run 1"))
    first, second = widgets.latent_sliders(decode, 2), widgets.latent_sliders(decode, 2)
    assert first.comm is not None or not first._ended
    monkeypatch.setattr(widgets, "_this_cell", lambda: ("cell", "run 2"))
    third = widgets.latent_sliders(decode, 2)
    assert first._ended and second._ended and not third._ended


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latent_dim": 0}, "at least 1"),
        ({"latent_dim": 2, "kl_per_dimension": [1.0]}, "must hold 2 finite numbers"),
        ({"latent_dim": 2, "starts": {"a": np.zeros(3)}}, "The start 'a' must be"),
    ],
)
def test_sliders_refuse_what_does_not_fit(arguments, words):
    with pytest.raises(ValueError, match=words):
        widgets.latent_sliders(decode, **arguments)


def test_other_widgets_refuse_what_does_not_fit(some):
    z_mean, y, x = some
    with pytest.raises(ValueError, match="two different dimensions"):
        widgets.latent_plane(decode, z_mean, y, x, dims=(1, 1))
    with pytest.raises(ValueError, match="of the same n"):
        widgets.interpolation(decode, z_mean, y[:5], x)
    with pytest.raises(ValueError, match="at least one digit"):
        widgets.noise_slider(decode, x[:0])
    with pytest.raises(ValueError, match="choose from"):
        widgets.noise_slider(decode, x, kinds=("rain",))


def test_the_compiled_decoder_gives_what_the_model_gives(vae):
    from vae_utils import compiled_decoder

    fast = compiled_decoder(vae)
    z = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_allclose(fast(z), vae.decode(z), atol=1e-6)
    assert fast(z[:0]).shape == (0, 28, 28, 1) and fast(z).dtype == np.float32
    vae.decoder.get_layer("logits").bias.assign_add(np.ones((28, 28, 1)))
    np.testing.assert_allclose(fast(z[:1]), vae.decode(z[:1]), atol=1e-6)
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        fast(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="NaN"):
        fast(np.full((1, 2), np.nan))


def test_the_recorded_slider_speed_keeps_the_promise():
    record = json.loads(SPEED_RECORD.read_text(encoding="utf-8"))
    assert set(record["milliseconds_per_tick"]) == {"2", "10"} == set(record["browser"])
    for ways in record["milliseconds_per_tick"].values():
        assert ways["ours"]["ticks"] >= 500 and ways["usual"]["ticks"] >= 500
        assert ways["ours"]["median"] <= 3 and ways["ours"]["p99"] <= 16 and ways["ratio"] >= 50
    for numbers in record["browser"].values():
        assert numbers["latency_median"] < 50 and numbers["pictures_per_second"] >= 20
        assert numbers["memory_ticks"] >= 2000
        assert numbers["browser_megabytes_grown"] < 5 and numbers["kernel_megabytes_grown"] < 20
