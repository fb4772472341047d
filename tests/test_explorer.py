"""The explorer: its networks beside Keras, its views under a real hand, its widget in a notebook."""

import base64
import re

import nbformat
import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image

from tools.browser import PROJECTOR, open_notebook, run_all_cells, serve_lab
from tools.site import make_classic
from vae_utils import (
    VAE,
    build_decoder,
    build_encoder,
    interpolate_linear,
    interpolate_spherical,
    load_emoji,
    load_pretrained,
    psnr,
    widgets,
)
from vae_utils.backend import keras
from vae_utils.pretrained import SIZES
from vae_utils.widgets.explore import HERE, describe_network

layers = keras.layers
LOAD = """([spec, weights, images]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  window.data = { spec, weights: bytes(weights), images: bytes(images) };
}"""
RUN = """([network, text, length]) => { // 100 inputs, as the base64 text of their float32
  const run = explorer.readModel(data)[network], bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const inputs = new Float32Array(bytes.buffer), count = inputs.length / length, found = [];
  for (let k = 0; k < count; k++)
    for (const output of run(inputs.subarray(k * length, (k + 1) * length))) found.push(new Float32Array(output));
  return found.map((output) => btoa(String.fromCharCode(...new Uint8Array(output.buffer)))).join(" ");
}"""
MOUNT = """(state) => {
  window.told = null;
  window.shown = explorer.mount(document.getElementById('here'), data, { state, onState: (s) => { told = s; } });
}"""
PIXELS = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"


@pytest.fixture(scope="module")
def page(browser):
    """A blank page with the explorer's script."""
    page = browser.new_page(viewport=PROJECTOR)
    page.set_content("<!doctype html><html lang=en><body><div id=here></div></body></html>")
    page.add_style_tag(path=HERE / "explorer.css")
    page.add_script_tag(content=make_classic((HERE / "explorer.js").read_text(encoding="utf-8")))
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert not errors
    page.close()


def send(page, data):
    page.evaluate(LOAD, [data["spec"], *(base64.b64encode(data[key]).decode() for key in ("weights", "images"))])


def build_other_layers():
    """A VAE for 32×32×3 with the layers that the course's own models lack."""
    x = keras.Input((32, 32, 3))
    h = layers.BatchNormalization()(x)
    h = layers.Conv2D(5, (3, 4), strides=(2, 3), padding="valid", activation="relu")(h)
    h = layers.Dropout(0.3)(layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh")(h))
    side = layers.Dense(6, "sigmoid")(layers.Flatten()(x))
    h = layers.Concatenate()([layers.Flatten()(h), layers.Activation("relu")(side)])
    z = keras.Input((3,))
    g = layers.Reshape((4, 4, 2))(layers.Dense(32, "gelu")(z))
    g = layers.Concatenate()([g, layers.Conv2DTranspose(3, 3, padding="same")(g)])
    g = layers.Conv2DTranspose(4, 2, strides=2, padding="valid")(g)
    g = layers.Conv2DTranspose(3, 5, strides=4, padding="same")(g)
    vae = VAE(keras.Model(x, [layers.Dense(3)(h), layers.Dense(3)(h)]), keras.Model(z, g))
    rng = np.random.default_rng(0)
    vae.set_weights(
        [rng.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else rng.normal(0, 0.2, w.shape) for w in vae.get_weights()]
    )
    return vae


MODELS = {
    **{
        f"{size} dimensions": lambda size=size: (load_pretrained(size), load_pretrained(size, denoising=True))
        for size in SIZES
    },
    "colour emoji": lambda: (load_pretrained("emoji_vae"), None),
    "32×32×3": lambda: (VAE(build_encoder(2, (32, 32, 3)), build_decoder(2, (32, 32, 3))), None),
    "other layers": lambda: (build_other_layers(), None),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_networks_agree_with_keras_on_100_inputs(name, page, digits):
    keras.utils.set_random_seed(0)
    vae, denoiser = MODELS[name]()
    x = (load_emoji()[0][0] if vae.image_shape[-1] == 3 else digits[0])[:100]
    z = np.random.default_rng(0).standard_normal((100, vae.latent_dim)).astype(np.float32)
    send(page, widgets.explorer_data(vae, x, denoiser=denoiser))
    networks = {"encoder": (vae.encoder, x), "decoder": (vae.decoder, z)}
    if denoiser:
        networks["second"] = (denoiser.encoder, x)
    for key, (network, inputs) in networks.items():
        wanted = network.predict(inputs, verbose=0)
        wanted = np.stack(wanted if isinstance(wanted, list) else [wanted], axis=1).reshape(100, -1)
        given = base64.b64encode(inputs.astype("<f4").tobytes()).decode()
        texts = page.evaluate(RUN, [key, given, inputs[0].size]).split()
        found = np.concatenate([np.frombuffer(base64.b64decode(text), "<f4") for text in texts]).reshape(100, -1)
        assert np.ptp(wanted) > 0.01 and np.abs(found - wanted).max() < 1e-4, key


def test_a_layer_that_cannot_be_run_and_bad_arrays_give_one_sentence(vae, digits):
    x, y = digits
    image = keras.Input((28, 28, 2))
    grouped = layers.Conv2D(2, 3, groups=2, name="grouped")
    for layer in (layers.LayerNormalization(name="norm"), layers.Activation("softmax", name="softmax"), grouped):
        with pytest.raises(ValueError, match=f"The explorer cannot run the layer '{layer.name}'"):
            describe_network(keras.Model(image, layer(image)), [])
    for call, words in (
        (lambda: widgets.explore(vae, x[0]), "must have the shape"),
        (lambda: widgets.explore(vae, x[:0]), "at least one image"),
        (lambda: widgets.explore(vae, x, y[:3]), "one whole number"),
        (lambda: widgets.explore(vae, x, y - 1), "one whole number"),
        (lambda: widgets.explore(vae, x, y, names=["0", "1"]), "a name for each label"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# --- the views ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(page, digits):
    """With the shipped VAE of two dimensions: a function that sets the state; both models; the images."""
    x, y = (part[:300] for part in digits)
    vae, denoiser = load_pretrained(2), load_pretrained(2, denoising=True)
    send(page, widgets.explorer_data(vae, x, y, denoiser=denoiser))

    def mount(**state):
        page.evaluate(MOUNT, state)

    return mount, vae, denoiser, np.rint(255 * x).astype(np.float32) / 255


def read_canvas(page, key, shape=(28, 28, 1)):
    """What a canvas of the explorer shows, in [0, 1]."""
    pixels = np.reshape(page.locator(f".vx-{key} canvas").evaluate(PIXELS), (*shape[:2], 4)) / 255
    return pixels[..., : shape[2]]


def told_state(page):
    page.wait_for_timeout(400)
    return page.evaluate("told")


def assert_shows(page, key, image):
    np.testing.assert_allclose(read_canvas(page, key, image.shape), image, atol=0.6 / 255)


def test_the_map_follows_mouse_and_keys_and_tells_its_state(page, shown):
    mount, vae, *_ = shown
    mount(z="0.5,-1.25")
    assert_shows(page, "decoded", vae.decode(np.float32([[0.5, -1.25]]))[0])
    box = page.locator(".vx-plane canvas").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"], steps=5)
    page.mouse.up()
    first = np.float32(told_state(page)["z"].split(","))
    assert (first > 1).all() and first[0] == pytest.approx(first[1], abs=0.1)
    page.locator(".vx-plane canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    state = told_state(page)
    z = np.float32(state["z"].split(","))
    np.testing.assert_allclose(z, first - [0.1, 0.4], atol=0.011)
    mount(**state)  # the text brings the same picture back
    assert_shows(page, "decoded", vae.decode(z[np.newaxis])[0])
    spoken = page.locator(".vx-plane canvas").get_attribute("aria-valuetext")
    assert f"z[0] = {z[0]:.2f}" in spoken and "nearest image" in spoken


def test_a_state_that_does_not_fit_changes_nothing(page, shown):
    mount, *_ = shown
    mount(view="sliders", z="1,1")
    page.evaluate("shown.setState({ view: 'cube', z: '1,x', image: '99999', kind: 'rain', y: '7', other: '<b>' })")
    page.locator("[data-dim='0']").press("ArrowRight")
    assert told_state(page) == {"view": "sliders", "z": "1.01,1.00"}


def test_sliders_reset_random_draw_and_the_nearest_images(page, shown):
    mount, vae, _, x = shown
    mount(view="sliders", image="7")
    code = vae.encode(x)[0]
    nearest = np.argsort(np.linalg.norm(code - code[7], axis=1))[:5]
    assert nearest[0] == 7
    assert_shows(page, "nearest", np.concatenate(x[nearest], axis=1))
    page.get_by_role("button", name="Random draw").click()
    assert np.any(np.float32(told_state(page)["z"].split(",")) != code[7].round(2))
    page.get_by_role("button", name="Reset").click()
    assert_shows(page, "decoded", vae.decode(np.zeros((1, 2)))[0])


def test_the_walk_shows_both_paths(page, shown):
    mount, vae, _, x = shown
    mount(view="walk", **{"from": "3", "to": "20", "t": "0.25"})
    a, b = vae.encode(x[[3, 20]])[0]
    for key, path in (("linear", interpolate_linear), ("slerp", interpolate_spherical)):
        assert_shows(page, key, vae.decode(path(a, b, 0.25)[np.newaxis])[0])


def test_noise_is_shown_with_what_both_encoders_make_of_it(page, shown):
    mount, vae, denoiser, x = shown
    mount(view="noise", image="5", level="0.5", kind="salt and pepper")
    noisy = read_canvas(page, "noisy")
    changed = np.abs(noisy - x[5]) > 0.01
    assert set(noisy[changed].round(3)) == {0, 1} and 0.1 < changed.mean() < 0.5
    mount(view="noise", image="5", level="0.5", kind="Gaussian")
    noisy = read_canvas(page, "noisy")
    assert 8 < psnr(x[5:6], noisy[np.newaxis])[0] < 11
    for key, model in (("first", vae), ("second", denoiser)):
        wanted = model.reconstruct(noisy[np.newaxis].astype(np.float32))
        assert np.abs(read_canvas(page, key) - wanted[0]).mean() < 0.02  # the page does not round the noise
        caption = page.locator(f".vx-{key} figcaption").inner_text()
        assert float(re.search(r"PSNR (.*) dB", caption)[1]) == pytest.approx(psnr(x[5:6], wanted)[0], abs=0.5)


def test_a_drawing_is_centred_and_scaled_and_its_loss_is_that_of_keras(page, shown):
    mount, vae, *_ = shown
    mount(view="draw")
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".vx-pad canvas")
    pad.focus()
    for key in (" ", *["ArrowDown"] * 6, " "):  # a vertical stroke by the keys
        page.keyboard.press(key)
    x = read_canvas(page, "input")
    rows, columns = np.flatnonzero(x.max(axis=(1, 2)) > 0.1), np.flatnonzero(x.max(axis=(0, 2)) > 0.1)
    assert 19 <= np.ptp(rows) + 1 <= 21 and np.ptp(columns) < np.ptp(rows)
    middle = [np.average(np.arange(28) + 0.5, weights=x.sum(axis=axes)) for axes in ((1, 2), (0, 2))]
    np.testing.assert_allclose(middle, 14, atol=0.3)
    z_mean, z_log_var = vae.encode(x[np.newaxis].astype(np.float32))
    assert_shows(page, "mean", vae.decode(z_mean)[0])
    kl = 0.5 * np.sum(z_mean**2 + np.exp(z_log_var) - z_log_var - 1)
    assert f"KL divergence {kl:.1f} nats" in page.get_by_role("status").inner_text()
    once = page.locator(".vx-sample canvas").evaluate(PIXELS)
    page.get_by_role("button", name="Draw ε again").click()
    assert page.locator(".vx-sample canvas").evaluate(PIXELS) != once


def test_a_picture_is_loaded_and_another_file_is_refused(page, shown, tmp_path):
    mount, _, _, x = shown
    mount(view="draw")
    photo = Image.fromarray(np.uint8(255 - 255 * x[3, ..., 0])).resize((280, 280))
    photo.save(tmp_path / "digit.png")  # dark on white
    page.locator("input[type=file]").set_input_files(tmp_path / "digit.png")
    page.wait_for_timeout(500)
    assert psnr(x[3:4], read_canvas(page, "input")[np.newaxis])[0] > 12
    (tmp_path / "text.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    page.get_by_text("no picture that the browser can read").wait_for()


def test_a_model_that_is_trained_further_is_shown_after_refresh(vae, digits):
    x, y = digits
    widget = widgets.explore(vae, x, y)
    weights, spec = widget.weights, widget.spec
    vae.decoder.get_layer("logits").bias.assign_add(np.ones((28, 28, 1)))
    widget.refresh()
    assert widget.weights != weights and widget.spec["networks"] == spec["networks"]
    widget.close()


CELLS = [
    """\
from vae_utils import explore, load_mnist, load_pretrained
(x, y), _ = load_mnist(limit=200)
vae = load_pretrained(2)""",
    "widget = explore(vae, x, y)\nwidget",
    "bias = vae.decoder.get_layer('logits').bias\nbias.assign(bias - 20)\nwidget.refresh()",
]


def test_in_jupyterlab_it_follows_hand_and_model_and_leaves_nothing_behind(browser, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS[:2]])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    with serve_lab(tmp_path) as address:
        page = browser.new_page(viewport=PROJECTOR)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        open_notebook(page, address, "explorer")
        run_all_cells(page)
        plane = page.locator(".vx-plane canvas")
        plane.wait_for(timeout=120_000)
        page.wait_for_timeout(1000)
        before = read_canvas(page, "decoded")
        plane.click(position={"x": 60, "y": 250})
        page.keyboard.press("ArrowUp")  # does not lead to another cell
        moved = read_canvas(page, "decoded")
        assert np.abs(moved - before).max() > 0.2 and page.locator(".vae-explorer").count() == 1
        run_again(page, 1)
        page.wait_for_timeout(3000)
        assert page.locator(".vae-explorer").count() == 1
        insert_and_run(page, CELLS[2])
        page.wait_for_function("""() => {
          const canvas = document.querySelector('.vx-decoded canvas');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return data.every((value, i) => i % 4 === 3 || value < 9);
        }""")
        assert not errors
        page.close()


def run_again(page, index):
    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(index).click()
    page.keyboard.press("Control+Enter")


def insert_and_run(page, code):
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


@pytest.mark.parametrize("colours", ["color: #222; background: #fff", "color: #ddd; background: #111"])
def test_axe_finds_nothing_in_any_view(colours, page, shown):
    mount, *_ = shown
    page.evaluate("style => document.body.setAttribute('style', style)", colours)
    page.add_script_tag(content=AXE_SCRIPT)
    for view in ("plane", "sliders", "walk", "draw", "noise"):
        mount(view=view)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        run = (
            "tags => axe.run('#here', { runOnly: tags }).then((r) => r.violations.map((v) => [v.id, v.nodes[0].html]))"
        )
        assert page.evaluate(run, tags) == [], view
