// Mounts an explorer in every `div.explorer` when it comes near the view. A model is loaded only then, by a script tag,
// which works from the disk, too. With `data-url`, a model can be chosen, and the page's address keeps the state.
{
  const { mount, readState, writeState } = window.explorer;
  const folder = new URL("models/", document.currentScript.src);
  const models = {}; // promises: two explorers of a page share their model

  const loadModel = (name) => models[name] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(`${name}.js`, folder);
    script.onerror = reject;
    script.onload = () => {
      const { spec, weights, images } = window.explorerData[name];
      resolve({ spec, weights: readBytes(weights).buffer, images: readBytes(images) });
    };
    document.head.append(script);
  });

  const readBytes = (text) => {
    const characters = atob(text), bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  };

  const prepare = (element) => {
    const place = document.createElement("div"), hasUrl = "url" in element.dataset;
    let { model, view } = element.dataset, state = { view }, explorer = null, select = null, timer = null;
    element.append(place);
    Object.assign(element, { role: "group", ariaLabel: "Explorer" });
    if (hasUrl) {
      const label = document.createElement("label");
      select = document.createElement("select");
      select.append(...Object.entries(window.explorerModels).map(([name, text]) => new Option(text, name)));
      select.oninput = () => { show({ model: select.value, view: state.view }); remember(); };
      label.append("Model ", select);
      element.prepend(label);
    }

    // A state of another model loads that model first.
    const show = async (wanted) => {
      if (explorer && (wanted.model ?? model) === model) return explorer.setState(state = wanted);
      if (wanted.model in window.explorerModels) model = wanted.model;
      const name = model;
      explorer?.destroy();
      [state, explorer] = [wanted, null];
      if (select) select.value = model;
      place.textContent = "Loading the model …";
      try {
        const data = await loadModel(name);
        if (name !== model || explorer) return; // another was chosen meanwhile
        explorer = mount(place, data, { state, onState: (now) => { state = now; remember(); } });
      } catch {
        place.textContent = "The model could not be loaded.";
      }
    };

    const remember = () => { // at most twice a second: browsers refuse more over a longer time
      if (hasUrl) timer ??= setTimeout(() => {
        timer = null;
        history.replaceState(null, "", writeState(Object.assign({ model }, state, { model })));
      }, 500);
    };

    // A link in the text, such as #model=digits-2&view=walk&from=3&to=17, is for this explorer if it has its model.
    const follow = (event) => {
      const wanted = readState(location.hash);
      if (!("view" in wanted) || !(hasUrl || (event && wanted.model === model))) return false;
      show(wanted);
      if (event) element.scrollIntoView({ block: "nearest" });
      return true;
    };
    addEventListener("hashchange", follow);
    new IntersectionObserver(([{ isIntersecting }], observer) => {
      if (!isIntersecting) return;
      observer.disconnect();
      if (!explorer && !follow()) show(state);
    }, { rootMargin: "400px" }).observe(place);
  };

  document.querySelectorAll("div.explorer").forEach(prepare);

  document.querySelectorAll(".cell_output img").forEach((image) => { // letters are small on a phone
    const link = document.createElement("a");
    Object.assign(link, { href: image.src, title: "Open the figure in its full size" });
    image.replaceWith(link);
    link.append(image);
  });

  const markWideFormulas = () => document.querySelectorAll("mjx-container[display]").forEach((formula) => {
    formula.tabIndex = formula.scrollWidth > formula.clientWidth ? 0 : -1; // to scroll it by the keyboard
  });
  addEventListener("load", () => window.MathJax?.startup.promise.then(markWideFormulas));
  addEventListener("resize", markWideFormulas);

  const { dataset } = document.documentElement; // paper is white, and letters of dark pages are white, too
  let theme;
  addEventListener("beforeprint", () => { [theme, dataset.theme] = [dataset.theme, "light"]; });
  addEventListener("afterprint", () => { dataset.theme = theme; });
}
