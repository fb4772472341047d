"""The widgets without a browser: what a user sees when controls are moved, and what a kernel sends when they fail."""

import gc
import io
import re
import weakref

import ipywidgets
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from PIL import Image

from vae_utils import widgets

SHAPES = [(28, 28, 1), (32, 32, 1), (32, 32, 3)]


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


def make_images(shape=(28, 28, 1)):
    return np.random.default_rng(0).random((20, *shape), np.float32)


def open_all(decode=None):
    """One of each widget."""
    decode = decode or make_decoder()
    return [
        widgets.latent_sliders(decode, 2, kl_per_dimension=[0.001, 2.0], starts={"far": np.array([9.0, -9.0])}),
        widgets.noise_slider(lambda x: x, make_images()),
    ]


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


# --- any image shape -----------------------------------------


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
    x = make_images(shape)
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
    panel = widgets.noise_slider(lambda x: 3 * x - 1, make_images())
    assert "denoised: PSNR" in read_text(panel) and "Error" not in panel.message.value


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
    assert (panel.z == 3).all() and len(calls) == 4


# --- what all widgets share --------------------------------------------------------------------------


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

    sliders, _ = open_all(fragile)
    assert "RuntimeError: no &lt;weights&gt;" in sliders.message.value
    assert capsys.readouterr().err.count("in fragile") == 1
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
    panel = widgets.noise_slider(lambda x: x[:, :14], make_images())
    assert "same shape" in panel.message.value


X = make_images()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: widgets.latent_sliders("decode", 2), "decode must be a function"),
        (lambda: widgets.latent_sliders(make_decoder(), 0), "at least 1"),
        (lambda: widgets.latent_sliders(make_decoder(), 2, kl_per_dimension=[1.0]), "must hold 2 finite numbers"),
        (lambda: widgets.latent_sliders(make_decoder(), 2, starts={"a": np.zeros(3)}), "The start 'a' must hold 2"),
        (lambda: widgets.noise_slider(3, X), "reconstruct must be a function"),
        (lambda: widgets.noise_slider(encode, X[:0]), "at least one image"),
        (lambda: widgets.noise_slider(encode, X, kinds=("rain",)), "one or more of Gaussian, salt and pepper"),
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
