// The latent space in the browser: a VAE's encoder and decoder run from their weights, without a kernel.
// `explore()` shows it in a notebook (through anywidget), `run.py site` on the pages of the site.

// --- the network -------------------------------------------------------------------------------------

const size = (shape) => shape.reduce((product, n) => product * n, 1), sigmoid = (x) => 1 / (1 + Math.exp(-x));

function erf(x) { // Abramowitz and Stegun (1964), 7.1.26: the error is at most 1.5e-7
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
  return Math.sign(x) * (1 - t * sum * Math.exp(-x * x));
}

const relu = (x) => Math.max(x, 0), gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));
const ACTIVATIONS = { linear: null, relu, gelu, sigmoid, tanh: Math.tanh };

// Each adds what a layer makes of its inputs to `out`, which holds the bias; images are height x width x channels.
const LAYERS = {
  copy: (out, [x]) => out.set(x),
  affine: (out, [x], { scale }) => x.forEach((value, i) => { out[i] += value * scale[i % scale.length]; }),
  concatenate(out, xs, { shape, from }, start = 0) { // along the last axis
    xs.forEach((x, k) => {
      const own = from[k].at(-1);
      x.forEach((value, i) => { out[Math.floor(i / own) * shape.at(-1) + start + (i % own)] = value; });
      start += own;
    });
  },
  dense(out, [x], { kernel, shape, from: [from] }) {
    const inputs = from.at(-1), units = shape.at(-1);
    for (let k = 0; k < x.length / inputs; k++) addRows(out, k * units, units, x, k * inputs, inputs, kernel, 0);
  },
  conv: convolve, transpose: convolve,
};

// Adds n values of x, each times its row of the kernel; four rows at once take half the time.
function addRows(out, start, units, x, at, n, kernel, row) {
  let i = 0;
  for (; i + 3 < n; i += 4, row += 4 * units) {
    const [a, b, c, d] = [x[at + i], x[at + i + 1], x[at + i + 2], x[at + i + 3]];
    const [second, third, fourth] = [row + units, row + 2 * units, row + 3 * units];
    for (let j = 0; j < units; j++)
      out[start + j] += a * kernel[row + j] + b * kernel[second + j] + c * kernel[third + j] + d * kernel[fourth + j];
  }
  for (; i < n; i++, row += units)
    if (x[at + i] !== 0) for (let j = 0; j < units; j++) out[start + j] += x[at + i] * kernel[row + j];
}

function dot(x, start, kernel, offset, n, sum = 0) {
  for (let i = 0; i < n; i++) sum += x[start + i] * kernel[offset + i];
  return sum;
}

// Each pixel of the small image meets those of the large one under its window, padded as in TensorFlow: a convolution
// leads from the large image to the small one, a transposed one back. Kernels lie as Keras keeps them.
function convolve(out, [x], { kind, kernel, window: [rows, columns], strides: [down, right], shape, from: [from] }) {
  const up = kind === "transpose", [[height, width], [tall, wide]] = up ? [from, shape] : [shape, from];
  const channels = from[2], maps = shape[2];
  const above = Math.max(0, (height - 1) * down + rows - tall) >> 1;
  const left = Math.max(0, (width - 1) * right + columns - wide) >> 1;
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++)
      for (let r = Math.max(0, above - i * down); r < Math.min(rows, tall + above - i * down); r++)
        for (let c = Math.max(0, left - j * right); c < Math.min(columns, wide + left - j * right); c++) {
          const small = i * width + j, large = (i * down + r - above) * wide + j * right + c - left;
          const start = (up ? large : small) * maps, at = (up ? small : large) * channels, tap = r * columns + c;
          if (up)
            for (let m = 0; m < maps; m++) out[start + m] += dot(x, at, kernel, (tap * maps + m) * channels, channels);
          else addRows(out, start, maps, x, at, channels, kernel, tap * channels * maps);
        }
}

// A function of the input arrays that returns the output arrays, which the next call overwrites.
function buildNetwork({ nodes, outputs }, read) {
  const layers = nodes.map((node) => {
    const arrays = Object.fromEntries(Object.entries(node.arrays).map(([name, place]) => [name, read(place)]));
    const out = new Float64Array(size(node.shape));
    return { ...node, ...arrays, out, from: node.inputs.map((i) => nodes[i].shape) };
  });
  return (...inputs) => {
    const given = inputs.values();
    for (const layer of layers) {
      const { kind, bias, out } = layer, activate = ACTIVATIONS[layer.activation];
      if (bias) for (let i = 0; i < out.length; i++) out[i] = bias[i % bias.length];
      else out.fill(0);
      if (kind === "input") out.set(given.next().value);
      else LAYERS[kind](out, layer.inputs.map((i) => layers[i].out), layer);
      if (activate) for (let i = 0; i < out.length; i++) out[i] = activate(out[i]);
    }
    return outputs.map((i) => layers[i].out);
  };
}

// What Python's `explorer_data` gives, as functions: `encoder(x)` is [z_mean, z_log_var], `decoder(z)` is [logits].
export function readModel({ spec, weights, images }) {
  const bytes = (data) => new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
  const numbers = Float64Array.from(new Float32Array(bytes(weights).slice().buffer)), pixels = bytes(images);
  const read = ([start, length]) => numbers.subarray(start, start + length);
  const networks = Object.entries(spec.networks).map(([name, network]) => [name, buildNetwork(network, read)]);
  const codes = read(spec.codes), dims = spec.kl.length, count = codes.length / dims, area = size(spec.image_shape);
  const image = (k) => new Float32Array(pixels.subarray(k * area, (k + 1) * area)).map((value) => value / 255);
  const code = (k) => codes.slice(k * dims, (k + 1) * dims);
  function nearest(z, most) { // the images whose codes lie nearest to z, the nearest first
    const found = Array(most).fill([Infinity]);
    for (let k = 0; k < count; k++) {
      let far = 0;
      for (let i = 0; i < dims; i++) far += (codes[k * dims + i] - z[i]) ** 2;
      if (far < found[most - 1][0]) found.splice(found.findIndex(([other]) => far < other), 0, [far, k]);
    }
    return found.slice(0, most).flatMap(([, k]) => k ?? []);
  }
  return { ...spec, ...Object.fromEntries(networks), dims, count, image, code, nearest };
}

// --- mathematics of the views ------------------------------------------------------------------------

const total = (array, term) => array.reduce((sum, value, i) => sum + term(value, i), 0);
const norm = (z) => Math.sqrt(total(z, (value) => value * value));
const clip = (x, low, high) => Math.min(high, Math.max(low, x));
const linear = (a, b, t) => a.map((value, i) => (1 - t) * value + t * b[i]);

function slerp(a, b, t) { // Shoemake (1985), as vae_utils.interpolate_spherical
  const omega = Math.acos(clip(total(a, (value, i) => value * b[i]) / (norm(a) * norm(b) || 1), -1, 1));
  if (Math.sin(omega) < 1e-6) return linear(a, b, t);
  return a.map((value, i) => (Math.sin((1 - t) * omega) * value + Math.sin(t * omega) * b[i]) / Math.sin(omega));
}

const reconstructionLoss = (x, logits) =>
  total(logits, (logit, i) => Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit))) - x[i] * logit);
const klDivergence = (mean, logVar) => 0.5 * total(mean, (m, i) => m * m + Math.exp(logVar[i]) - logVar[i] - 1);
const psnr = (a, b) => -10 * Math.log10(total(a, (value, i) => (value - b[i]) ** 2) / a.length);
const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

function randomSource(seed) { // the same noise while the level moves: a congruential generator
  return () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 4294967296;
}
const NOISES = {
  Gaussian: (x, level, random) => x.map((value) => clip(value + level * normal(random), 0, 1)),
  "salt and pepper"(x, level, random, channels) { // all channels of a pixel turn black or white together
    const pixels = Array.from({ length: x.length / channels }, () => [random() < level, Math.round(random())]);
    return x.map((value, i) => { const [hit, to] = pixels[Math.floor(i / channels)]; return hit ? to : value; });
  },
};

// --- the page ----------------------------------------------------------------------------------------

const VIEWS = { plane: "Map", sliders: "Sliders", walk: "Walk", draw: "Draw", noise: "Noise" };
const KEPT = { plane: "z x y", sliders: "z", walk: "from to t", draw: "image", noise: "image kind level" }; // in URLs
const PAD = 280, PLANE = 800, NEAREST = 5, REACH = 3, INACTIVE_BELOW = 0.01;
let mounted = 0;

export const readState = (hash) => Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
export const writeState = (state) => `#${new URLSearchParams(state)}`.replaceAll("%2C", ",");
const show = (x) => x.toFixed(2).replace("-", "−");
function paint(canvas, pixels, [height, width, channels]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < image.data.length; i++)
    image.data[i] = i % 4 === 3 ? 255 : 255 * pixels[channels * (i >> 2) + (channels === 1 ? 0 : i % 4)];
  context.putImageData(image, 0, 0);
}

function layOut({ dims, count, order, second }) {
  const label = (views, name, inside) => `<label data-views="${views}">${name} ${inside}</label>`;
  const input = (key, attributes) => `<input data-key="${key}" ${attributes}>`;
  const select = (key, values, name) => `<select data-key="${key}">
    ${values.map((value) => `<option value="${value}">${name(value)}</option>`).join("")}</select>`;
  const number = `type="number" min="0" max="${count - 1}" required`, reach = `min="${-REACH}" max="${REACH}"`;
  const share = 'type="range" min="0" max="1" step="0.01"', nameOf = (k) => `z[${k}]`;
  const button = (views, name) => `<button type="button" data-views="${views}">${name}</button>`;
  const figure = (views, key, attributes = 'role="img"') => `<figure data-views="${views}" class="vx-${key}">
    <canvas ${attributes}></canvas><figcaption></figcaption></figure>`;
  const slider = (k) => `<label>${nameOf(k)}
    <input type="range" data-dim="${k}" ${reach} step="0.01" aria-label="${nameOf(k)}"><output></output></label>`;
  const view = ([value, name]) =>
    `<label><input type="radio" name="vae-explorer-${mounted}" value="${value}">${name}</label>`;
  return `<fieldset><legend>View</legend>${Object.entries(VIEWS).map(view).join("")}</fieldset><div class="vx-tools">
    ${dims > 2 ? label("plane", "Horizontal", select("x", order, nameOf)) : ""}
    ${dims > 2 ? label("plane", "Vertical", select("y", order, nameOf)) : ""}
    ${label("plane sliders draw noise", "Image no.", input("image", number))}
    ${label("walk", "From image no.", input("from", number))} ${label("walk", "to image no.", input("to", number))}
    ${label("walk", "t", input("t", share))}
    ${label("noise", "Noise", select("kind", Object.keys(NOISES), (kind) => kind))}
    ${label("noise", "Level", input("level", share))}
    ${button("plane sliders", "Reset")} ${button("plane sliders", "Random draw")}
    ${button("draw", "Clear")} ${button("draw", "Draw ε again")}
    ${label("draw", "Load a picture", '<input type="file" accept="image/*">')}
  </div><div class="vx-body">
    ${figure("plane", "plane", `width="${PLANE}" height="${PLANE}" tabindex="0" role="slider"
      aria-valuemin="${-REACH}" aria-valuemax="${REACH}"`).replace("</canvas>", "</canvas><div><i></i><i></i></div>")}
    ${figure("draw", "pad", `width="${PAD}" height="${PAD}" tabindex="0" role="application"`)}
    <div data-views="sliders" class="vx-sliders">${order.map(slider).join("")}</div>
    ${["decoded:plane sliders", "linear:walk", "slerp:walk", "input:draw", "mean:draw", "sample:draw", "clean:noise",
      "noisy:noise", "first:noise", second ? "second:noise" : "", "nearest:plane sliders draw"].filter(Boolean)
      .map((text) => figure(...text.split(":").reverse())).join("")}
  </div><p role="status"></p>`;
}

// Explore in `element`. `state` is what `readState` gives; `onState` is told, four times a second at most, what
// has become of it. Returns `refresh(data)` for new weights, `setState(state)` and `destroy()`.
export function mount(element, data, { state: wanted = {}, onState = () => {} } = {}) {
  let model = readModel(data), background = null, epsilon = null, timer = null, shown = "";
  const { dims, names, image_shape: shape } = model, [height, width, channels] = shape;
  const z = model.code(0), pen = { x: PAD / 2, y: PAD / 2, down: false };
  const state = { view: "plane", image: 0, from: 0, t: 0.5, kind: "Gaussian", level: 0.5, x: 0, y: dims - 1 };
  if (dims > 2) [state.x, state.y] = model.order;
  state.to = Math.max(0, model.labels.findIndex((label) => label !== model.labels[0])) || model.count - 1;

  mounted += 1;
  const root = document.createElement("div"), all = (css) => [...root.querySelectorAll(css)];
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the keys for its own
  Object.assign(root, { className: "vae-explorer", innerHTML: layOut(model) });
  element.replaceChildren(root);
  const controls = Object.fromEntries(all("[data-key]").map((input) => [input.dataset.key, input]));
  const partsOf = (css) => Object.fromEntries(all(css).map((part) => [part.parentElement.className.slice(3), part]));
  const canvases = partsOf("canvas"), captions = partsOf("figcaption"), { plane, pad } = canvases;
  const sliders = all("[data-dim]"), marks = all("i");
  const ink = pad.getContext("2d", { willReadFrequently: true });
  const say = (sentence) => { root.querySelector("p").textContent = sentence; };
  const nameOf = (k) => names[model.labels[k]] ?? `no. ${k}`;
  const isInactive = (k) => model.kl[k] < INACTIVE_BELOW;
  const reach = () => background?.reach ?? REACH;
  const decode = (point) => model.decoder(point)[0], decoded = (point) => decode(point).map(sigmoid);
  function describe(key, caption, spoken = caption) {
    if (captions[key].textContent === caption) return;
    captions[key].textContent = caption;
    canvases[key].setAttribute("aria-label", spoken);
  }
  const draw = (key, pixels, caption, box = shape) => { paint(canvases[key], pixels, box); describe(key, caption); };
  function showNearest() {
    const nearest = model.nearest(z, NEAREST), line = width * channels;
    if (shown === (shown = nearest.join())) return nearest;
    const images = nearest.map(model.image), row = new Float32Array(nearest.length * size(shape));
    for (let i = 0; i < height; i++)
      images.forEach((x, n) => row.set(x.subarray(i * line, (i + 1) * line), (i * nearest.length + n) * line));
    const caption = `Images with the nearest codes: ${nearest.map(nameOf).join(", ")}`;
    draw("nearest", row, caption, [height, nearest.length * width, channels]);
    return nearest;
  }
  function drawMap() { // all codes, once
    const context = plane.getContext("2d"), indices = [...Array(model.count).keys()];
    const points = indices.map(model.code).map((code) => [code[state.x], code[state.y]]);
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const sorted = points.flat().map(Math.abs).sort((a, b) => a - b), far = sorted[Math.floor(0.995 * sorted.length)];
    background = { x: state.x, y: state.y, reach: Math.max(REACH, far) };
    Object.assign(context, { font: "bold 30px sans-serif", textAlign: "center", textBaseline: "middle" });
    Object.assign(context, { fillStyle: "#fff", strokeStyle: "#fff", lineWidth: 6 });
    context.fillRect(0, 0, PLANE, PLANE);
    points.forEach((point, k) => {
      context.fillStyle = model.colours[model.labels[k]];
      context.beginPath();
      context.arc(...toPlane(point), 4, 0, 7);
      context.fill();
    });
    context.fillStyle = "#000";
    names.forEach((name, label) => { // at the median of its class
      const own = points.filter((_, k) => model.labels[k] === label);
      if (!own.length) return;
      const place = toPlane([0, 1].map((axis) => median(own.map((point) => point[axis]))));
      context.strokeText(name, ...place);
      context.fillText(name, ...place);
    });
  }
  const toPlane = ([x, y]) => [(x / reach() + 1) * PLANE / 2, (1 - y / reach()) * PLANE / 2];
  function place(mark, point, radii = [9, 9]) { // a transform: the browser need not paint the map again
    const [x, y, w, h] = [...toPlane(point), 2 * radii[0], 2 * radii[1]].map((value) => `${100 * value / PLANE}cqw`);
    Object.assign(mark.style, { width: w, height: h, transform: `translate(${x}, ${y}) translate(-50%, -50%)` });
  }
  function showPoint() {
    const image = decoded(z), nearest = showNearest();
    draw("decoded", image, "Decoded image");
    if (state.view === "sliders") sliders.forEach((slider) => {
      const k = Number(slider.dataset.dim), inactive = isInactive(k) ? " (inactive)" : "";
      slider.value = z[k];
      slider.ariaValueText = show(z[k]) + inactive;
      slider.nextSibling.textContent = `${show(z[k])} · KL ${show(model.kl[k])} nats${inactive}`;
    });
    return [image, nearest];
  }

  const PAINTERS = {
    sliders: showPoint,
    plane() {
      if (background?.x !== state.x || background.y !== state.y) drawMap();
      const [image, nearest] = showPoint(), [mean, logVar] = model.encoder(image);
      const radii = [state.x, state.y].map((k) => Math.exp(logVar[k] / 2) * PLANE / 2 / reach());
      place(marks[0], [mean[state.x], mean[state.y]], radii);
      place(marks[1], [z[state.x], z[state.y]]);
      const point = `z[${state.x}] = ${show(z[state.x])}, z[${state.y}] = ${show(z[state.y])}`;
      describe("plane", `${point}; ellipse: z_mean, σ of the decoded image`, "Latent space: arrow keys move a point");
      plane.ariaValueNow = z[state.x].toFixed(2);
      plane.ariaValueText = `${point}, nearest image ${nameOf(nearest[0])}`;
    },
    walk() {
      for (const [name, path] of Object.entries({ slerp, linear })) {
        z.set(path(model.code(state.from), model.code(state.to), state.t));
        draw(name, decoded(z), `${name} at t = ${show(state.t)}, norm of z ${show(norm(z))}`);
      }
    },
    draw() {
      const x = readPad(), [mean, logVar] = model.encoder(x).map((part) => part.slice());
      epsilon ??= mean.map(() => normal(Math.random));
      const logits = decode(mean.map((m, k) => m + Math.exp(logVar[k] / 2) * epsilon[k])).slice();
      z.set(mean);
      draw("input", x, channels === 1 ? "Centred and scaled" : "Scaled");
      draw("mean", decoded(mean), "Decoded from z_mean");
      draw("sample", logits.map(sigmoid), "Decoded from a draw of z");
      showNearest();
      const [loss, kl] = [reconstructionLoss(x, logits), klDivergence(mean, logVar)].map((nats) => nats.toFixed(1));
      say(`Reconstruction loss ${loss} nats, KL divergence ${kl} nats (one draw). Pen ${pen.down ? "down" : "up"}.`);
    },
    noise() {
      const x = model.image(state.image);
      const noisy = NOISES[state.kind](x, state.level, randomSource(state.image), channels);
      const quality = (image) => psnr(x, image) < Infinity ? `PSNR ${psnr(x, image).toFixed(1)} dB` : "identical";
      draw("clean", x, "Original");
      draw("noisy", noisy, `Noisy: ${quality(noisy)}`);
      const [first, second] = [model.encoder, model.second].map((encoder) => encoder && decoded(encoder(noisy)[0]));
      draw("first", first, `VAE: ${quality(first)}`);
      if (second) draw("second", second, `VAE with its second encoder: ${quality(second)}`);
    },
  };

  function update(moved) { // after the reader's hand
    say("");
    PAINTERS[state.view]();
    if (moved >= 0 && isInactive(moved))
      say(`z[${moved}] is inactive (collapsed): KL divergence ${show(model.kl[moved])} nats. ` +
        "Its approximate posterior is nearly the prior for every image, and the picture hardly changes.");
    timer ??= setTimeout(() => { timer = null; onState(getState()); }, 250);
  }

  const ACTIONS = {
    Reset: () => z.fill(0), "Random draw": () => z.set(z.map(() => normal(Math.random))),
    Clear: () => fillPad(), "Draw ε again": () => { epsilon = null; },
  };
  for (const button of all("button"))
    button.addEventListener("click", () => { ACTIONS[button.textContent](); update(); });
  root.addEventListener("input", ({ target }) => {
    const { key, dim } = target.dataset;
    if (target.type === "file") return loadPicture(target.files[0]);
    if (!target.checkValidity()) return say(`Choose a whole number from ${target.min} to ${target.max}.`);
    if (dim) z[dim] = target.value;
    else if (key) change(key, target.value);
    else change("view", target.value);
    update(dim && Number(dim));
  });

  function change(key, text) {
    state[key] = typeof state[key] === "number" ? Number(text) : text;
    if (key === "view") all("[data-views]").forEach((part) => { part.hidden = !part.dataset.views.includes(text); });
    if (key !== "image") return;
    z.set(model.code(state.image));
    fillPad(model.image(state.image));
  }
  function listen(canvas, touch, move, space = () => {}) {
    let box = null; // asked for once in a drag: laying the page out takes longer than the networks
    for (const type of ["pointerdown", "pointermove"])
      canvas.addEventListener(type, ({ buttons, clientX: x, clientY: y, pointerId }) => {
        if (type === "pointerdown") [box] = [canvas.getBoundingClientRect(), canvas.setPointerCapture(pointerId)];
        if (buttons && box) touch((x - box.left) / box.width, (y - box.top) / box.height, type === "pointerdown");
      });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (step) move(...step.map((value) => value * (event.shiftKey ? 4 : 1)));
      else if (event.key === " ") space();
      else return;
      event.preventDefault();
    });
  }
  function moveTo(x, y) {
    [z[state.x], z[state.y]] = [clip(x, -reach(), reach()), clip(y, -reach(), reach())];
    update();
  }
  listen(plane, (right, down) => moveTo((2 * right - 1) * reach(), (1 - 2 * down) * reach()),
    (right, up) => moveTo(z[state.x] + 0.1 * right, z[state.y] + 0.1 * up));

  function fillPad(x) { // with an image, or empty
    const [ground, stroke] = channels === 1 ? ["#000", "#fff"] : ["#fff", "#c00"];
    Object.assign(ink, { fillStyle: ground, strokeStyle: stroke, lineWidth: 24, lineCap: "round", lineJoin: "round" });
    ink.fillRect(0, 0, PAD, PAD);
    if (!x) return;
    const small = document.createElement("canvas");
    paint(small, x, shape);
    ink.drawImage(small, 0, 0, PAD, PAD);
  }
  function movePen(x, y, draws) {
    ink.beginPath();
    ink.moveTo(pen.x, pen.y);
    [pen.x, pen.y] = [clip(x, 0, PAD), clip(y, 0, PAD)];
    ink.lineTo(pen.x, pen.y);
    if (draws) ink.stroke();
    update();
  }
  listen(pad, (right, down, starts) => {
    if (starts) Object.assign(pen, { x: right * PAD, y: down * PAD });
    movePen(right * PAD, down * PAD, true);
  }, (right, up) => movePen(pen.x + 8 * right, pen.y - 8 * up, pen.down),
    () => movePen(pen.x, pen.y, pen.down = !pen.down));

  // The pad as an image of the model: grey ones as MNIST's, in a box of 20 of 28 pixels, centre of mass in the middle.
  function readPad() {
    const small = Object.assign(document.createElement("canvas"), { width, height });
    const context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    if (channels > 1) context.drawImage(pad, 0, 0, width, height);
    else {
      context.fillRect(0, 0, width, height);
      const { data } = ink.getImageData(0, 0, PAD, PAD);
      let [mass, x, y, left, top, right, bottom] = [0, 0, 0, PAD, PAD, 0, 0];
      for (let i = 0; i < PAD * PAD; i++) {
        const value = data[4 * i], column = i % PAD, row = Math.floor(i / PAD);
        if (value < 32) continue;
        [mass, x, y] = [mass + value, x + value * column, y + value * row];
        [left, right] = [Math.min(left, column), Math.max(right, column + 1)];
        [top, bottom] = [Math.min(top, row), Math.max(bottom, row + 1)];
      }
      const [w, h] = [right - left, bottom - top], scale = 20 / 28 * Math.min(width / w, height / h);
      context.setTransform(scale, 0, 0, scale, width / 2, height / 2);
      if (mass) context.drawImage(pad, left, top, w, h, left - x / mass, top - y / mass, w, h);
    }
    const { data } = context.getImageData(0, 0, width, height), place = (i) => 4 * Math.floor(i / channels);
    return Float32Array.from({ length: size(shape) }, (_, i) => data[place(i) + (i % channels)] / 255);
  }
  async function loadPicture(file) {
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) return say("This file is no picture that the browser can read: choose a PNG or JPEG file.");
    fillPad();
    const scale = PAD / Math.max(picture.width, picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    const box = [(PAD - w) / 2, (PAD - h) / 2, w, h].map(Math.round);
    ink.drawImage(picture, ...box);
    if (channels === 1) { // grey; dark strokes on a light ground are turned round
      const pixels = ink.getImageData(...box), { data } = pixels;
      const grey = (i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2], turned = grey(0) > 127;
      for (let i = 0; i < data.length; i += 4) data.fill(turned ? 255 - grey(i) : grey(i), i, i + 3);
      ink.putImageData(pixels, box[0], box[1]);
    }
    update();
  }
  function getState() {
    const own = { ...state, z: Array.from(z, (value) => value.toFixed(2)).join() }, kept = KEPT[state.view].split(" ");
    return Object.fromEntries(["view", ...kept].map((key) => [key, String(own[key])]));
  }
  function setState(wanted) { // what does not fit stays as it is
    for (const [key, text] of Object.entries(wanted)) {
      const input = controls[key];
      if (input) input.value = text;
      if (input ? input.value === text && input.checkValidity() : key === "view" && text in VIEWS) change(key, text);
    }
    const code = (wanted.z ?? "").split(",").map(Number);
    if (wanted.z && code.length === dims && code.every(Number.isFinite)) z.set(code);
    for (const [key, input] of Object.entries(controls)) input.value = state[key];
    all("[type=radio]").forEach((input) => { input.checked = input.value === state.view; });
    update();
  }
  const refresh = (data) => { [model, background] = [readModel(data), null]; update(); };
  describe("pad", "Draw here", "Drawing pad: mouse, pen, finger or arrow keys; the space bar puts the pen down or up");
  fillPad(model.image(0));
  change("view", state.view);
  setState(wanted);
  return { refresh, setState, destroy: () => { clearTimeout(timer); element.replaceChildren(); } };
}

function render({ model, el }) { // called by anywidget
  const read = () => Object.fromEntries(["spec", "weights", "images"].map((name) => [name, model.get(name)]));
  const explorer = mount(el, read()), refresh = () => explorer.refresh(read());
  model.on("change:weights", refresh);
  return () => { model.off("change:weights", refresh); explorer.destroy(); };
}

export default { render };
