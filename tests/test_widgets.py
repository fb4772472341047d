"""The widgets without a browser: what a user sees when controls are moved, and what a kernel sends when they fail."""

import asyncio
import gc
import io
import re
import weakref

import ipywidgets
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from PIL import Image

from vae_utils import compiled_decoder, plots, widgets
from vae_utils.widgets.panel import LatestWins

SHAPES = [(28, 28, 1), (32, 32, 1), (32, 32, 3)]
BLUE, ORANGE = (0, 119, 187), (238, 119, 51)


def make_decoder(shape=(28, 28, 1)):
    """A decoder one can predict: the grey level grows with the first coordinate, in the top row with the last."""

    def decode(z):
        levels = np.clip(0.5 + np.asarray(z, np.float32) / 6, 0, 1)
        images = np.ones((len(z), *shape), np.float32) * levels[:, :1, np.newaxis, np.newaxis]
        images[:, 0] = levels[:, -1:, np.newaxis]
        return images

    return decode


def encode(x):
    z_mean = np.stack([x.mean(axis=(1, 2, 3)), x[:, :14].mean(axis=(1, 2, 3))], axis=1)
    return z_mean, np.full_like(z_mean, -2.0)


def make_data(shape=(28, 28, 1), classes=10, latent_dim=2):
    """Codes, labels and images of 220 random images; every class has its place in the latent space."""
    rng = np.random.default_rng(0)
    y = np.arange(220) % classes
    turn = 2 * np.pi * y / classes
    z_mean = 0.2 * rng.standard_normal((220, latent_dim))
    z_mean[:, :2] += 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, :latent_dim]
    return z_mean, y, rng.random((220, *shape), np.float32)


def open_all(decode=None, shape=(28, 28, 1), classes=10):
    """One of each widget; the drawing pad, which follows MNIST's rules, for digits only."""
    decode, data = decode or make_decoder(shape), make_data(shape, classes)
    panels = [
        widgets.latent_sliders(decode, 2, kl_per_dimension=[0.001, 2.0], starts={"far": np.array([9.0, -9.0])}),
        widgets.latent_map(decode, *data),
        widgets.latent_walk(decode, *data),
        widgets.noise_slider(lambda x: x, data[2]),
    ]
    return [*panels, widgets.draw_a_digit(encode, decode, *data)] if shape == (28, 28, 1) else panels


def find_children(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from find_children(child)


def find_controls(panel):
    kinds = (ipywidgets.FloatSlider, ipywidgets.BoundedIntText, ipywidgets.Dropdown, ipywidgets.Button)
    return [widget for widget in find_children(panel) if isinstance(widget, kinds)]


def read_text(panel):
    """All text on the widget, without its style sheet, in single spaces."""
    html = " ".join(widget.value for widget in find_children(panel) if isinstance(widget, ipywidgets.HTML))
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.S).split())


def read_pixels(image, mode=None):
    picture = Image.open(io.BytesIO(image.value))
    return np.asarray(picture.convert(mode) if mode else picture)


def show_as_pixels(image):
    """`(height, width, channels)` in [0, 1] as the picture's pixels."""
    return np.rint(255 * (image[..., 0] if image.shape[-1] == 1 else image))


def has_colour(image, colour):
    return (read_pixels(image, "RGB") == colour).all(axis=-1).any()


# --- any image shape, any number of classes, any latent size -----------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sliders_show_what_decode_returns(shape):
    decode = make_decoder(shape)
    panel = widgets.latent_sliders(decode, 3)
    picture = panel.picture
    for value in (-3.0, 0.4, 3.0):
        panel.sliders[0].value = value
        np.testing.assert_array_equal(read_pixels(picture), show_as_pixels(decode(np.array([[value, 0, 0]]))[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_noise_slider_shows_image_noise_and_result_with_their_psnr(shape):
    x = make_data(shape)[2]
    panel = widgets.noise_slider(lambda noisy: 0.5 * noisy + 0.25, x)
    for kind in panel.kind.options:
        panel.kind.value, panel.index.value, panel.level.value = kind, 4, 0.0
        np.testing.assert_array_equal(read_pixels(panel.pictures["original"]), show_as_pixels(x[4]))
        np.testing.assert_array_equal(read_pixels(panel.pictures["noisy"]), show_as_pixels(x[4]))
        assert panel.captions["noisy"].value == "noisy: identical"
        panel.level.value = 0.4
        once = panel.pictures["noisy"].value
        for name in ("noisy", "denoised"):
            error = np.mean((read_pixels(panel.pictures[name]).reshape(shape) / 255 - x[4]) ** 2)
            shown = float(re.fullmatch(rf"{name}: PSNR (.*) dB", panel.captions[name].value)[1])
            assert shown == pytest.approx(10 * np.log10(1 / error), abs=0.1)
        panel.level.value = 0.8
        panel.level.value = 0.4
        assert panel.pictures["noisy"].value == once  # the same draw: no flicker


@pytest.mark.parametrize("classes", [2, 11])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_widget_takes_any_image_shape_and_any_number_of_classes(shape, classes):
    for panel in open_all(shape=shape, classes=classes):
        assert "Error" not in panel.message.value and repr(panel)
    _, plane, walk, *_ = open_all(shape=shape, classes=classes)
    assert {button.description for button in plane.cells} == {"·", *map(str, range(classes))}
    assert (
        len(np.unique(read_pixels(plane.map, "RGB").reshape(-1, 3), axis=0)) == classes + 4
    )  # white, grid, text, mark
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in plots.class_colours(classes)]
    assert len(set(colours)) == classes and all(has_colour(walk.map, colour) for colour in colours)
    assert read_pixels(plane.picture).shape[:2] == shape[:2]


@pytest.mark.parametrize("latent_dim", [1, 10])
def test_one_and_ten_dimensions(latent_dim):
    decode, data = make_decoder(), make_data(latent_dim=latent_dim)
    plane = widgets.latent_map(decode, *data)
    plane.cells[0].click()
    drawing = widgets.draw_a_digit(lambda x: (data[0][:1], np.zeros((1, latent_dim))), decode, *data)
    drawing.pen_down(100, 100)
    walk = widgets.latent_walk(decode, *data)
    sliders = widgets.latent_sliders(decode, latent_dim, kl_per_dimension=np.ones(latent_dim))
    assert not any("Error" in panel.message.value for panel in (plane, drawing, walk, sliders))
    assert len(plane.sliders) == min(latent_dim, 2) and len(sliders.sliders) == latent_dim


# --- latent_sliders ----------------------------------------------------------------------------------


def test_sliders_are_ordered_by_kl_and_inactive_ones_are_marked():
    panel = widgets.latent_sliders(make_decoder(), 3, kl_per_dimension=[0.5, 0.001, 2.0])
    names = [control.description for control in find_controls(panel) if isinstance(control, ipywidgets.FloatSlider)]
    assert names == ["z[2]", "z[0]", "z[1]"]
    shown = re.findall(r"KL [\d.]+ nats(?: \(inactive\))?", read_text(panel))
    assert shown == ["KL 2.00 nats", "KL 0.50 nats", "KL 0.00 nats (inactive)"]


def test_values_beyond_0_and_1_are_clipped():
    panel = widgets.latent_sliders(lambda z: np.array([-1.0, 2.0]).reshape(1, 1, 2, 1), 2)
    assert read_pixels(panel.picture).tolist() == [[0, 255]]
    panel = widgets.noise_slider(lambda x: 3 * x - 1, make_data()[2])
    assert "denoised: PSNR" in read_text(panel) and "Error" not in panel.message.value


def test_moving_an_inactive_dimension_explains_why_nothing_happens():
    panel = widgets.latent_sliders(lambda z: make_decoder()(z[:, :1]), 2, kl_per_dimension=[2.0, 0.001])
    before = panel.picture.value
    panel.sliders[1].value = 2
    assert "inactive (collapsed) dimension: KL divergence 0.001 nats" in panel.message.value
    assert "largest change of a pixel was 0.000" in panel.message.value and panel.picture.value == before
    panel.sliders[0].value = 2
    assert "inactive" not in panel.message.value


def test_a_kl_list_of_another_decoder_is_noticed():
    panel = widgets.latent_sliders(make_decoder(), 2, kl_per_dimension=[0.001, 2.0])
    panel.sliders[0].value = 3
    assert "check that kl_per_dimension belongs to this decoder" in panel.message.value


def test_start_reset_and_random_draw_make_one_picture_each():
    decode, calls, start = make_decoder(), [], np.arange(10) / 5
    panel = widgets.latent_sliders(
        lambda z: calls.append(z.copy()) or decode(z), 10, starts={"a 7": start, "far": np.full(10, 8.0)}
    )
    calls.clear()
    panel.start.value = "a 7"
    np.testing.assert_allclose(calls[0][0], start, atol=1e-6)
    panel.random.click()
    assert np.ptp(panel.z) > 0.5 and np.abs(panel.z).max() <= 3
    panel.reset.click()
    np.testing.assert_allclose(panel.z, start, atol=1e-6)
    panel.start.value = "far"
    assert "beyond the sliders (|z| up to 8.0)" in panel.message.value and (panel.z == 3).all()
    assert len(calls) == 4


# --- the map, the walk, the drawing pad --------------------------------------------------------------


def test_the_map_marks_codes_and_point_and_names_the_nearest():
    z_mean, y, x = np.tile([[1.2, -0.7]], (9, 1)), np.full(9, 4), np.linspace(0, 1, 9)[:, None, None, None]
    calls, decode = [], make_decoder()
    panel = widgets.latent_map(
        lambda z: calls.append(1) or decode(z), z_mean, y, np.ones((9, 28, 28, 1), np.float32) * x
    )
    picture = read_pixels(panel.map, "RGB")
    row, column = int(168 + 48 * 0.7), int(168 + 48 * 1.2)  # 336 pixels for 7 standard deviations
    assert (picture[row, column] != 255).any() and (picture[row, column + 5] == 255).all()
    assert tuple(picture[168, 168]) == ORANGE  # the point starts at the origin
    assert "nearest test images: 4 4 4" in read_text(panel) and "distance 1.39" in read_text(panel)
    calls.clear()
    panel.cells[0].click()
    np.testing.assert_allclose(panel.z, [-3, 3])
    assert len(calls) == 1 and tuple(read_pixels(panel.map, "RGB")[24, 24]) == ORANGE
    np.testing.assert_array_equal(read_pixels(panel.picture), show_as_pixels(decode(np.array([[-3, 3]]))[0]))


def test_the_walk_shows_linear_and_spherical_interpolation():
    z_mean, y = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([0, 1])
    panel = widgets.latent_walk(make_decoder(), z_mean, y, make_data()[2][:2])
    assert "linear norm of z: 1.41" in read_text(panel) and "spherical (slerp) norm of z: 2.00" in read_text(panel)
    for point, colour in ((1.0, BLUE), (np.sqrt(2), ORANGE)):  # 48 pixels for a standard deviation
        assert tuple(read_pixels(panel.map, "RGB")[int(168 - 48 * point), int(168 + 48 * point)]) == colour
    panel.t.value = 0
    for name in ("linear", "spherical (slerp)"):
        np.testing.assert_array_equal(read_pixels(panel.pictures[name]), show_as_pixels(make_decoder()(z_mean)[0]))
    panel.start.value = panel.end.value
    panel.t.value = 1
    assert "Error" not in panel.message.value


def test_a_drawing_becomes_a_digit_and_a_code():
    z_mean, y, x = make_data()
    panel = widgets.draw_a_digit(encode, make_decoder(), z_mean, y, x)
    assert "The drawing is empty" in panel.message.value
    panel.pen_move(50, 50)
    assert not panel.strokes
    panel.pen_down(80, 40)
    panel.pen_move(90, 180)
    panel.pen_up()
    panel.pen_move(0, 0)
    digit = widgets.as_mnist(widgets.rasterise([[(80, 40), (90, 180)]]))
    np.testing.assert_array_equal(read_pixels(panel.pictures["seen"]), show_as_pixels(digit))
    assert f"z[0] = {digit.mean():+.2f} ± {np.exp(-1):.2f}" in read_text(panel) and "Error" not in panel.message.value
    panel.sample.value = 3
    np.testing.assert_array_equal(read_pixels(panel.pictures["seen"]), show_as_pixels(x[3]))
    panel.clear.click()
    assert "The drawing is empty" in panel.message.value and panel.sample.value == -1


def test_a_sketch_is_fitted_into_20_pixels_and_centred_by_mass():
    sketch = np.zeros((200, 200))
    sketch[10:110, 140:170] = 1
    digit = widgets.as_mnist(sketch)
    rows, columns = np.nonzero(digit[..., 0])
    assert digit.shape == (28, 28, 1) and (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 6)
    centre = [(digit[..., 0].sum(axis=1 - axis) @ (np.arange(28) + 0.5)) / digit.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 14.5, atol=0.51)


def test_mnist_digits_pass_nearly_unchanged(digits):
    errors = [np.abs(widgets.as_mnist(digit[..., 0]) - digit).mean() for digit in digits[0][:50]]
    assert np.median(errors) < 0.01


def test_size_and_place_of_a_drawing_do_not_matter():
    stroke = np.array([(20.0, 20.0), (60.0, 20.0), (35.0, 90.0)])
    small, large = (widgets.as_mnist(widgets.rasterise([s.tolist()])) for s in (stroke, 1.8 * stroke + 10))
    assert np.abs(small - large).mean() < 0.02 and small.sum() > 20


@pytest.mark.parametrize("stroke", [[(5, 5)], [(0, 0), (224, 224)], [(-50, 100), (300, 100)]])
def test_dots_and_strokes_beyond_the_pad_are_drawn(stroke):
    assert widgets.as_mnist(widgets.rasterise([stroke])).max() > 0.5


# --- what all widgets share --------------------------------------------------------------------------


def test_without_an_event_loop_an_update_is_made_at_once():
    calls = []
    LatestWins(lambda: calls.append(1), delay=10)()
    assert calls == [1]


def test_with_an_event_loop_requests_are_merged():
    calls = []

    async def make_requests():
        refresh = LatestWins(lambda: calls.append(1), delay=0.01)
        for _ in range(50):
            refresh()
        assert not calls
        await asyncio.sleep(0.1)
        refresh()
        refresh.close()
        await asyncio.sleep(0.05)

    asyncio.run(make_requests())
    assert calls == [1]


def test_requests_in_a_hold_and_during_an_update_are_merged():
    calls = []

    def update():
        calls.append(1)
        if len(calls) == 1:
            refresh(), refresh()

    refresh = LatestWins(update)
    with refresh.hold():
        refresh(), refresh(), refresh()
    assert len(calls) == 2


def test_an_update_that_raises_does_not_block_the_next():
    refresh = LatestWins(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            refresh()


def test_every_control_has_a_label_and_both_ends_of_its_range_work():
    for panel in open_all():
        assert find_controls(panel) and all(control.description for control in find_controls(panel))
        for control in find_controls(panel):
            for end in ("min", "max") if hasattr(control, "min") else ():
                control.value = getattr(control, end)
                assert "Error" not in panel.message.value


def test_a_closed_panel_lets_go_of_everything():
    calls, decode = [], make_decoder()
    panels = open_all(lambda z: calls.append(1) or decode(z))
    while panels:
        panel = panels.pop()
        inside = list(find_children(panel))
        assert all(widget.comm is not None for widget in [panel, *inside])
        panel.close()
        panel.close()
        assert all(widget.comm is None for widget in [panel, *inside])
        calls.clear()
        for control in inside:
            if isinstance(control, ipywidgets.FloatSlider):
                control.value = control.max
            elif isinstance(control, ipywidgets.Button):
                control.click()
        assert not calls
        gone = weakref.ref(panel)
        del panel, inside, control
        gc.collect()
        assert gone() is None


# --- errors ------------------------------------------------------------------------------------------


def test_an_error_of_decode_shows_a_sentence_and_one_traceback_and_passes(capsys):
    broken, decode = [True], make_decoder()

    def fragile(z):
        if broken[0]:
            raise RuntimeError("no <weights>")
        return decode(z)

    sliders, plane, walk, *_ = open_all(fragile)
    for panel in (sliders, plane, walk):
        assert "RuntimeError: no &lt;weights&gt;" in panel.message.value
    assert capsys.readouterr().err.count("in fragile") == 3
    for value in (1, 2, 3):
        sliders.sliders[0].value = value
    assert not capsys.readouterr().err  # the same error at every tick is reported once
    broken[0] = False
    sliders.sliders[1].value = 1
    assert "Error" not in sliders.message.value and read_pixels(sliders.picture).shape == (28, 28)
    broken[0] = True
    sliders.sliders[1].value = 2
    assert "in fragile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda z: np.zeros((2, 28)), "decode must return (1, height, width, 1 or 3)"),
        (lambda z: np.zeros((1, 28, 28, 2)), "but returns (1, 28, 28, 2)"),
        (lambda z: make_decoder()(z) * np.nan, "NaN or infinite pixels"),
    ],
)
def test_wrong_results_of_decode_are_reported(wrong, words):
    assert words in widgets.latent_sliders(wrong, 2).message.value


def test_a_denoiser_that_changes_the_shape_is_reported():
    panel = widgets.noise_slider(lambda x: x[:, :14], make_data()[2])
    assert "same shape" in panel.message.value


Z, Y, X = make_data()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: widgets.latent_sliders("decode", 2), "decode must be a function"),
        (lambda: widgets.latent_sliders(make_decoder(), 0), "at least 1"),
        (lambda: widgets.latent_sliders(make_decoder(), 2, kl_per_dimension=[1.0]), "must hold 2 finite numbers"),
        (lambda: widgets.latent_sliders(make_decoder(), 2, starts={"a": np.zeros(3)}), "The start 'a' must hold 2"),
        (lambda: widgets.latent_map(None, Z, Y, X), "decode must be a function"),
        (lambda: widgets.latent_map(make_decoder(), Z, Y, X, dims=(1, 1)), "two different dimensions"),
        (lambda: widgets.latent_map(make_decoder(), Z, Y - 1, X), "whole numbers from 0 to 99"),
        (lambda: widgets.latent_walk(make_decoder(), Z, Y[:5], X), "of the same n"),
        (lambda: widgets.latent_walk(make_decoder(), Z, Y, 255 * X), "lie in"),
        (lambda: widgets.latent_walk(make_decoder(), Z * np.nan, Y, X), "z_mean holds NaN"),
        (lambda: widgets.noise_slider(3, X), "reconstruct must be a function"),
        (lambda: widgets.noise_slider(encode, X[:0]), "at least one image"),
        (lambda: widgets.noise_slider(encode, X, kinds=("rain",)), "one or more of Gaussian, salt and pepper"),
        (lambda: widgets.draw_a_digit(None, make_decoder(), Z, Y, X), "encode must be a function"),
        (lambda: widgets.draw_a_digit(encode, make_decoder(), *make_data((32, 32, 1))), "28, 28, 1"),
        (lambda: widgets.as_mnist(np.zeros((224, 224))), "empty: draw a digit first"),
        (lambda: widgets.as_mnist(np.zeros((28, 28, 1))), "height, width"),
    ],
)
def test_bad_input_gives_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- in a notebook's kernel --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel():
    """Sends the kernel of a notebook a message, as the browser does, and gives what it writes: stdout and stderr."""
    manager, client = start_new_kernel(kernel_name="python3")

    def send(kind, content, **metadata):
        message = client.session.msg(kind, content, metadata=metadata)
        client.shell_channel.send(message)
        written = {"stdout": "", "stderr": ""}
        while True:
            answer = client.get_iopub_msg(timeout=120)
            if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            if answer["msg_type"] == "stream":
                written[answer["content"]["name"]] += answer["content"]["text"]
            assert answer["msg_type"] != "error", answer["content"]
            if answer["content"].get("execution_state") == "idle":
                return written

    yield send
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run_cell(kernel, cell, code):
    return kernel("execute_request", {"code": code, "silent": False}, cellId=cell)


def test_a_slider_moved_in_the_browser_sends_the_traceback_to_stderr(kernel):
    code = """
import numpy as np
from vae_utils import widgets
def fragile(z):
    assert z[0, 0] < 1, "too far"
    return np.zeros((len(z), 8, 8, 3))
panel = widgets.latent_sliders(fragile, 2)
print(panel.sliders[0].model_id)"""
    written = run_cell(kernel, "first", code)
    assert not written["stderr"]
    update = {"method": "update", "state": {"value": 2.0}, "buffer_paths": []}
    written = kernel("comm_msg", {"comm_id": written["stdout"].strip(), "data": update})
    assert "in fragile" in written["stderr"] and "AssertionError: too far" in written["stderr"]


def test_running_a_cell_again_closes_what_it_had_made(kernel):
    prepare = "import numpy as np\nfrom vae_utils import widgets\nmade = []"
    make = "made += [widgets.latent_sliders(lambda z: np.zeros((len(z), 8, 8, 1)), 2) for _ in range(2)]"
    for cell, code in (("first", prepare), ("second", make), ("other", make), ("second", make)):
        run_cell(kernel, cell, code)
    shown = run_cell(kernel, "last", "print([panel.comm is not None for panel in made])")["stdout"]
    assert shown.strip() == "[False, False, True, True, True, True]"


# --- a compiled decoder for the sliders --------------------------------------------------------------


def test_the_compiled_decoder_gives_what_the_model_gives(vae):
    fast = compiled_decoder(vae)
    z = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_allclose(fast(z), vae.decode(z), atol=1e-6)
    assert fast(z[:0]).shape == (0, 28, 28, 1) and fast(z).dtype == np.float32
    vae.decoder.get_layer("logits").bias.assign_add(np.ones((28, 28, 1)))
    np.testing.assert_allclose(fast(z[:1]), vae.decode(z[:1]), atol=1e-6)
    for wrong in (np.zeros((1, 3)), np.full((1, 2), np.nan)):
        with pytest.raises(ValueError, match=r"\(n, 2\)"):
            fast(wrong)
