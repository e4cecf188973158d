// The page "Explore": four figures become something to move. Without scripts the figures stay.
//
// The page itself defines `explorers`: numbers of networks, and the values of the theorems as functions,
// which `qnotes.theorems.javascript` prints from the SymPy objects. No formula of a theorem is typed here.
const Explorers = (() => {
  // ---------------------------------------------------------------- logarithms, as the formulas call them

  const add = (...logs) => {
    const top = Math.max(...logs);
    if (!Number.isFinite(top)) return top;
    return top + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - top), 0));
  };
  const minus = (log, less) => (log === -Infinity ? log : log + Math.log1p(-Math.exp(less - log)));
  // Also for a base that one layer leaves without a meaning, such as a mean over the others.
  const power = (exponent, log) => (exponent === 0 ? 0 : exponent * log);
  const over = (low, high, term) => {
    const terms = [];
    for (let index = low; index <= high; index++) terms.push(term(index));
    return terms;
  };
  const sumOver = (low, high, term) => add(-Infinity, ...over(low, high, term));
  const productOver = (low, high, term) => over(low, high, term).reduce((sum, log) => sum + log, 0);
  const ON_LOGARITHMS = { add, minus, power, sumOver, productOver };

  const logarithm = (value) => (Array.isArray(value) ? value.map(Math.log) : Math.log(value));
  /** The decimal logarithm of a formula, for quantities by name. */
  function log10(formula, quantities) {
    const q = Object.fromEntries(
      Object.entries(quantities).map(([name, value]) => [name, name === "L" ? value : logarithm(value)]));
    return formula(q, ON_LOGARITHMS) / Math.LN10;
  }

  // ---------------------------------------------------------------- parts of a page

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  let count = 0;
  /** A labelled slider; `says` puts its value into words, `moved` is called when it moves. */
  function slider(name, { min, max, step, value, says, moved }) {
    const id = `explorer-${++count}`;
    const input = make("input", { type: "range", id, min, max, step, value });
    const output = make("output", { for: id });
    const show = () => {
      output.textContent = says(+input.value);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => { show(); moved(); });
    show();
    return {
      box: make("div", { class: "control" }, make("label", { for: id }, name), output, input),
      get value() { return +input.value; },
      set value(given) { input.value = given; show(); },
    };
  }

  /** A labelled choice between words. */
  function choice(name, words, moved) {
    const id = `explorer-${++count}`;
    const select = make("select", { id }, ...words.map((word, at) => make("option", { value: at }, word)));
    select.addEventListener("change", moved);
    return {
      box: make("div", { class: "control" }, make("label", { for: id }, name), select),
      get value() { return +select.value; },
      set value(given) { select.value = given; },
    };
  }

  /** Three digits, not below the number. */
  function upward(number) {
    const unit = 10 ** (Math.floor(Math.log10(number)) - 2);
    return String(Number((Math.ceil(number / unit - 1e-6) * unit).toPrecision(3)));
  }
  /** A number by its logarithm: as it is, or as a power of ten. */
  function shown(log) {
    if (Number.isNaN(log)) return ["–"];
    if (log === -Infinity) return ["0"];
    if (log > -3 && log < 4) return [upward(10 ** log)];
    return ["10", make("sup", {}, (Math.ceil(log * 10 - 1e-6) / 10).toFixed(1).replace("-", "−"))];
  }

  /** A table of bounds, each a mark on a line of decades. */
  function ladder(title, rows) {
    const marks = {}, names = {}, values = {}, lines = {};
    const body = rows.map(({ key, label, colour }) => {
      marks[key] = make("span", { class: "rung", style: `--colour: ${colour}` });
      values[key] = make("td", { class: "value" });
      names[key] = make("th", { scope: "row" }, label);
      lines[key] = make("tr", { "data-key": key }, names[key],
        make("td", { class: "track", "aria-hidden": "true" }, marks[key]), values[key]);
      return lines[key];
    });
    const ends = make("td", { class: "ends", "aria-hidden": "true" });
    const table = make("table", { class: "ladder" }, make("caption", { class: "visually-hidden" }, title),
      make("tbody", {}, ...body),
      make("tfoot", { "aria-hidden": "true" }, make("tr", {}, make("td"), ends, make("td"))));
    return {
      table,
      /** `found` has decimal logarithms by key; `broken` the keys of what is no bound here. */
      show(found, [low, high], broken = []) {
        for (const { key, label } of rows) {
          const log = found[key];
          const place = Math.min(1, Math.max(0, (log - low) / (high - low)));
          marks[key].hidden = Number.isNaN(log);
          marks[key].style.setProperty("--place", place || 0);
          marks[key].classList.toggle("beyond", log > high);
          lines[key].classList.toggle("broken", broken.includes(key));
          lines[key].dataset.log10 = log;
          names[key].textContent = broken.includes(key) ? `${label}: too small` : label;
          values[key].replaceChildren(...shown(log));
        }
        const steps = [low, (low + high) / 2, high];
        ends.replaceChildren(...steps.map((at) =>
          make("span", {}, "10", make("sup", {}, String(Math.round(10 * at) / 10).replace("-", "−")))));
      },
    };
  }

  /** Puts a widget in the place of the picture of a figure; its caption stays. */
  function inPlaceOf(name, title, ...children) {
    const figure = document.getElementById(name);
    if (!figure) return;
    figure.classList.add("explored");
    figure.prepend(make("div", { class: "explorer", role: "group", "aria-label": title }, ...children));
  }
  const controls = (...boxes) => make("div", { class: "controls" }, ...boxes.map(({ box }) => box));
  const sentence = () => make("p", { class: "says", role: "status" });

  // ---------------------------------------------------------------- (a) a network, bits, a radius

  function networkExplorer({ formulas, bounds, networks }) {
    const keys = bounds.map(({ key }) => key);
    const table = ladder("Bounds on the error", [...bounds, { key: "found", label: "largest error found", colour: "currentColor" }]);
    const says = sentence();
    const network = choice("Network", networks.map(({ title }) => title), update);
    const widths = Object.keys(networks[0].widths).map(Number);
    const bits = slider("Bits", { min: 0, max: widths.length - 1, step: 1, value: widths.indexOf(8) < 0 ? 0 : widths.indexOf(8),
      says: (at) => `${widths[at]} bits`, moved: update });
    const radius = slider("Radius D of the inputs", { min: -6, max: 6, step: 0.5, value: 0,
      says: (octaves) => `${Number((networks[network.value].radius * 2 ** octaves).toPrecision(3))}${octaves ? "" : ", all images"}`, moved: update });
    const all = (chosen, width, octaves) => Object.fromEntries(keys.map((key) =>
      [key, log10(formulas[key], { ...chosen.widths[width], D: chosen.radius * 2 ** octaves })]));

    function update() {
      const chosen = networks[network.value], width = widths[bits.value], octaves = radius.value;
      radius.value = octaves;  // in the words of this network
      const found = all(chosen, width, octaves);
      // What was found in a box is in every larger box.
      found.found = octaves >= 0 && chosen.found[width] ? Math.log10(chosen.found[width]) : NaN;
      const { P1, ...others } = all(chosen, widths[0], 6);
      table.show(found, [-4, 10 * Math.ceil(Math.max(...Object.values(others)) / 10)]);
      says.textContent = `${chosen.source} T5 (mean form) is ${(found.P2 - found["T5 mean form"]).toFixed(1)} decades below P2, `
        + `T2 another ${(found["T5 mean form"] - found.T2).toFixed(1)}.`;
    }
    update();
    inPlaceOf("fig-explore-network", "Choose a network, bits and a radius", controls(network, bits, radius), table.table, says);
  }

  // ---------------------------------------------------------------- (b) five norms

  function normsExplorer({ formulas, means }) {
    const table = ladder("Bounds, and the error", means.rows);
    const says = sentence();
    const preset = choice("Start from", means.presets.map(({ title }) => title), () => { take(); update(); });
    const norms = [1, 2, 3, 4, 5].map((layer) => slider(`Norm of layer ${layer}`,
      { min: 1, max: 4, step: 0.05, value: 2, says: (norm) => norm.toFixed(2), moved: update }));
    const fanIns = [1, 10, 100];
    const fanIn = choice("Fan-in of layer 5", fanIns.map(String), update);
    function take() {
      const { norms: given, fan_in } = means.presets[preset.value];
      given.forEach((norm, at) => { norms[at].value = norm; });
      fanIn.value = fanIns.indexOf(fan_in);
    }

    function update() {
      const r = norms.map(({ value }) => value), n = fanIns[fanIn.value], change = means.change;
      const q = { L: 5, D: 1, W: n, r: Math.max(...r), varepsilon: change, varepsilon_layer: [0, 0, 0, 0, change],
        rtilde_layer: r, rtilde_min: Math.min(...r), ntilde_layer: [1, 1, 1, 1, n] };
      // The network itself, at x = 1: one unit a layer, then n units that layer 5 adds up.
      const unit = r.slice(0, 4).reduce((value, weight) => weight * value, 1);
      const found = { error: Math.log10(n * change * unit) };
      for (const key of Object.keys(formulas)) found[key] = log10(formulas[key], q);
      const broken = found.plain < found.error - 1e-9 ? ["plain"] : [];
      table.show(found, [-5, 3], broken);
      says.textContent = broken.length
        ? "The plain mean promises less than what happens: it is no bound."
        : "Here the plain mean happens to be large enough.";
    }
    take();
    update();
    inPlaceOf("fig-explore-norms", "Five norms on sliders", controls(preset, fanIn, ...norms), table.table, says);
  }

  // ---------------------------------------------------------------- (c) a hidden layer, rescaled

  /** What a network of dense layers with ReLU makes of a number. */
  function output(layers, x) {
    return layers.reduce((values, { weight, bias }, at) => weight.map((row, unit) => {
      const z = row.reduce((sum, entry, from) => sum + entry * values[from], bias[unit]);
      return at < layers.length - 1 ? Math.max(0, z) : z;
    }), [x])[0];
  }
  /** Multiplies a hidden layer; the next one takes it back. */
  function rescaled(layers, hidden, factor) {
    const times = (rows, by) => rows.map((row) => row.map((entry) => by * entry));
    return layers.map(({ weight, bias }, at) => {
      if (at === hidden) return { weight: times(weight, factor), bias: bias.map((entry) => factor * entry) };
      return at === hidden + 1 ? { weight: times(weight, 1 / factor), bias } : { weight, bias };
    });
  }

  function rescalingExplorer({ formulas, rescaling }) {
    const { before, after, radius, octaves, quantities, rows } = rescaling;
    const table = ladder("Bounds on the error", rows), says = sentence();
    const xs = Array.from({ length: 121 }, (_, at) => radius * (at / 60 - 1));
    const heights = xs.flatMap((x) => [output(before, x), output(after, x)]);
    const low = Math.min(...heights), high = Math.max(...heights);
    const curves = ["original", "rounded"].map((kind) => draw("polyline", { class: `curve ${kind}` }));
    const plot = draw("svg", { class: "plot", viewBox: "0 0 400 200", role: "img",
      "aria-label": "The function of the network, and of the rounded network" }, draw("path", { class: "axis", d: "M0 199.5H400" }), ...curves);
    const legend = make("p", { class: "legend" }, make("span", { class: "key original" }, "network"), make("span", { class: "key rounded" }, "rounded"));
    const hidden = choice("Hidden layer", ["first", "second"], update);
    const factor = slider("Its factor λ", { min: 0, max: octaves.length - 1, step: 1, value: octaves.indexOf(0),
      says: (at) => upward(2 ** octaves[at]), moved: update });
    const values = quantities.flat().flatMap((q) => Object.values(formulas).map((formula) => log10(formula, { ...q, D: radius })));
    const scale = [Math.floor(Math.min(...values, 0)), Math.ceil(Math.max(...values))];

    function update() {
      const by = 2 ** octaves[factor.value];
      const outputs = [before, after].map((layers) => {
        const now = rescaled(layers, hidden.value, by);
        return xs.map((x) => output(now, x));
      });
      outputs.forEach((ys, at) => curves[at].setAttribute("points", ys.map((y, place) =>
        `${(400 * place / 120).toFixed(1)},${(190 - 180 * (y - low) / (high - low)).toFixed(1)}`).join(" ")));
      const error = Math.max(...xs.map((_, at) => Math.abs(outputs[0][at] - outputs[1][at])));
      const found = { error: Math.log10(error) };
      const q = { ...quantities[hidden.value][factor.value], D: radius };
      for (const key of Object.keys(formulas)) found[key] = log10(formulas[key], q);
      table.show(found, scale);
      says.textContent = `With λ = ${factor.box.querySelector("output").textContent} the curves are where they were.`;
    }
    update();
    inPlaceOf("fig-explore-rescaling", "Rescale a hidden layer", controls(hidden, factor), plot, legend, table.table, says);
  }

  // ---------------------------------------------------------------- (d) an ellipse and a box

  const REACH = 1.35;
  const at = (x, y) => `${(100 * x / REACH).toFixed(1)},${(-100 * y / REACH).toFixed(1)}`;
  const turns = Array.from({ length: 91 }, (_, step) => (Math.PI * step) / 45);
  /** The outline of the ellipse of a matrix, from its Cholesky factor. */
  function outline([q11, q12, q22]) {
    const a = Math.sqrt(q11), b = q12 / a, c = Math.sqrt(Math.max(0, q22 - b * b));
    return turns.map((turn) => at(a * Math.cos(turn), b * Math.cos(turn) + c * Math.sin(turn))).join(" ");
  }
  const area = ([q11, q12, q22]) => Math.PI * Math.sqrt(Math.max(0, q11 * q22 - q12 * q12));
  const isAbove = (one, two, [z11, z12, z22]) => 2 * one > z11 && (2 * one - z11) * (2 * two - z22) > z12 * z12;

  function planeExplorer({ afterRelu }) {
    const plane = (title) => {
      const parts = { dots: draw("g", { class: "dots" }), box: draw("rect", { class: "box" }), ellipse: draw("polygon", { class: "ellipse" }) };
      const axes = draw("path", { class: "axis", d: "M-100 0H100M0 -100V100" });
      const picture = draw("svg", { viewBox: "-100 -100 200 200", role: "img", "aria-label": title }, axes, ...Object.values(parts));
      return { ...parts, whole: make("div", { class: "plane" }, picture, make("span", { "aria-hidden": "true" }, title)) };
    };
    const planes = [plane("before the ReLU"), plane("after it")];
    const says = sentence();
    const angle = slider("Angle of the ellipse", { min: 0, max: 180, step: 5, value: 35, says: (turn) => `${turn}°`, moved: update });
    const short = slider("Its short half-axis", { min: 0.05, max: 1, step: 0.05, value: 0.25, says: (side) => side.toFixed(2), moved: update });
    const free = () => { best.checked = false; update(); };
    const diagonal = ["first", "second"].map((name) => slider(`D, ${name} entry`,
      { min: -3, max: 3, step: 0.1, value: 0, says: (octave) => (2 ** octave).toFixed(2), moved: free }));
    const best = make("input", { type: "checkbox", id: "explorer-best", checked: "" });
    best.addEventListener("change", update);
    const tick = { box: make("div", { class: "control tick" }, best, make("label", { for: "explorer-best" }, "Keep D where the ellipse is smallest")) };
    // Points of the disc, and slopes of the two units, always the same ones.
    const points = turns.flatMap((turn, step) => [1, 0.7].map((length, ring) =>
      [length * Math.cos(turn), length * Math.sin(turn), [0, 1, 0.5, 1][(step + ring) % 4], [1, 0, 0.3, 1, 0.8][(3 * step + ring) % 5]]));

    function smallest(Z) {
      let found = [Infinity];
      for (let one = -3; one <= 3.01; one += 0.1) for (let two = -3; two <= 3.01; two += 0.1) {
        if (!isAbove(2 ** one, 2 ** two, Z)) continue;
        const size = area(afterRelu(...Z, 2 ** one, 2 ** two));
        if (size < found[0]) found = [size, one, two];
      }
      return found.slice(1);
    }

    function update() {
      const turn = (angle.value * Math.PI) / 180, side = short.value, cos = Math.cos(turn), sin = Math.sin(turn);
      const Z = [cos ** 2 + (side * sin) ** 2, (1 - side ** 2) * cos * sin, sin ** 2 + (side * cos) ** 2];
      if (best.checked) smallest(Z).forEach((octave, entry) => { diagonal[entry].value = octave; });
      const [one, two] = diagonal.map(({ value }) => 2 ** value);
      const sound = isAbove(one, two, Z), after = sound ? afterRelu(...Z, one, two) : null;
      const half = [Math.sqrt(Z[0]), Math.sqrt(Z[2])];
      planes.forEach(({ dots, box, ellipse }, which) => {
        const [width, height] = half.map((length) => (100 * length) / REACH);
        fill(box, { x: -width, y: -height, width: 2 * width, height: 2 * height }, []);
        ellipse.setAttribute("points", which ? (after ? outline(after) : "") : outline(Z));
        dots.replaceChildren(...points.map(([u, v, first, second]) => {
          const x = cos * u - side * sin * v, y = sin * u + side * cos * v;
          const [cx, cy] = at(which ? first * x : x, which ? second * y : y).split(",");
          return draw("circle", { cx, cy, r: 1.3 });
        }));
      });
      says.textContent = sound
        ? `Areas: box ${(4 * half[0] * half[1]).toFixed(2)}; ellipse ${area(Z).toFixed(2)} before the ReLU, ${area(after).toFixed(2)} after it.`
        : "Here 2D − Z is not positive definite: this D gives no ellipse. Make its entries larger.";
    }
    update();
    inPlaceOf("fig-explore-plane", "An ellipse and a box through a ReLU",
      controls(angle, short, ...diagonal, tick), make("div", { class: "planes" }, ...planes.map(({ whole }) => whole)),
      make("p", { class: "legend" }, make("span", { class: "key box" }, "box"), make("span", { class: "key ellipse" }, "ellipse")), says);
  }

  window.addEventListener("DOMContentLoaded", () => {
    const given = window.explorers;
    if (!given) return;
    const chosen = (keys) => Object.fromEntries(keys.map((key) => [key, given.formulas[key]]));
    networkExplorer(given);
    normsExplorer({ ...given, formulas: chosen(given.means.formulas) });
    rescalingExplorer({ ...given, formulas: chosen(given.rescaling.formulas) });
    planeExplorer(given);
  });
  return { log10, ON_LOGARITHMS };
})();
