// Draws the plots of sdclib.figures.scatter_by_bits from their JSON; the table of the points is folded below.
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const [HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [400, 58, 48, 12, 14];
  // Methods of one colour differ by their marker.
  const MARKERS = [
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z", "M-4.5,-4.5h9v9h-9Z", "M0,-6.5L6.5,0L0,6.5L-6.5,0Z",
    "M0,-6L5.6,4.5H-5.6Z", "M0,6L5.6,-4.5H-5.6Z", "M-2,-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
    "M-6,-3L-3,-6L0,-3L3,-6L6,-3L3,0L6,3L3,6L0,3L-3,6L-6,3L-3,0Z", "M-6,-5L6,0L-6,5Z", "M6,-5L-6,0L6,5Z",
  ];

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "path", "line", "text", "title", "polyline"].includes(name);
    const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const spelled = (value, half) => value.toFixed(1) + (half === null ? "" : ` ± ${half.toFixed(1)}`);

  // Ticks in steps of 1, 2 or 5 times a power of ten, about six of them, within the range of the values and a margin.
  function scale(values, low, high) {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const margin = 0.05 * (most - least || 1);
    const [from, to] = [least - margin, most + margin];
    const raw = (to - from) / 6;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10);
    const first = Math.ceil(from / step);
    const ticks = Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => (first + i) * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return { at: (v) => low + ((v - from) / (to - from)) * (high - low), ticks, text: (v) => v.toFixed(digits) };
  }

  // Of a point's interval, where it lies among percentages.
  function ends(point, axis) {
    const half = point[`${axis}_ci`] ?? 0;
    return [-half, half].map((side) => Math.min(100, Math.max(0, point[axis] + side)));
  }

  function axes(data, width, x, y) {
    const drawn = element("g", { class: "sdc-axes" });
    for (const tick of x.ticks) {
      const at = x.at(tick);
      drawn.append(element("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }));
      drawn.append(element("text", { x: at, y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, x.text(tick)));
    }
    for (const tick of y.ticks) {
      const at = y.at(tick);
      drawn.append(element("line", { x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
      drawn.append(element("text", { x: LEFT - 7, y: at + 4, "text-anchor": "end" }, y.text(tick)));
    }
    const middle = (TOP + HEIGHT - BOTTOM) / 2;
    drawn.append(element("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, data.xlabel));
    drawn.append(element("text", { transform: `translate(16 ${middle}) rotate(-90)`, "text-anchor": "middle" }, data.ylabel));
    return drawn;
  }

  function build(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const width = figure.clientWidth < 500 ? 400 : 640; // letters as large on a phone
    const labels = [...new Set(data.points.map((point) => point.label))];
    const lengths = [...new Set(data.points.map((point) => point.n_bits))].sort((a, b) => a - b);
    const marker = (label) => MARKERS[labels.indexOf(label) % MARKERS.length];

    const select = element("select", {}, ...lengths.map((n) => element("option", { value: n }, `${n} bits`)));
    select.append(element("option", { value: "all" }, "all, joined by method"));
    select.value = String(data.n_bits);
    const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": data.caption || data.ylabel });
    const says = element("p", { class: "sdc-says", "aria-live": "polite" });
    const legend = element("ul", { class: "sdc-legend" });
    const hidden = new Set();

    function drawPoint(point, x, y) {
      const [px, py] = [x.at(point.x), y.at(point.y)];
      const text = `${point.label}, ${point.n_bits} bits. ${data.xlabel}: ${spelled(point.x, point.x_ci)}; ` +
        `${data.ylabel}: ${spelled(point.y, point.y_ci)}`;
      const group = element("g", { class: "sdc-point", tabindex: 0, role: "img", "aria-label": text, "data-label": point.label,
        style: `--sdc-color:${point.color}` }, element("title", {}, text));
      const bar = (axis, low, high) => element("line", axis === "x" ? { x1: low, x2: high, y1: py, y2: py } : { x1: px, x2: px, y1: low, y2: high });
      if (point.x_ci !== null) group.append(bar("x", ...ends(point, "x").map(x.at)));
      if (point.y_ci !== null) group.append(bar("y", ...ends(point, "y").map(y.at)));
      group.append(element("path", { d: marker(point.label), transform: `translate(${px} ${py})` }));
      for (const event of ["focus", "mouseenter"]) group.addEventListener(event, () => { says.textContent = text; });
      return group;
    }

    function draw() {
      const all = select.value === "all";
      const visible = data.points.filter((point) => !hidden.has(point.label));
      const shown = visible.filter((point) => all || point.n_bits === Number(select.value));
      // One scale for all code lengths, so that points can be followed from one to the next; wide enough for all bars.
      const x = scale(visible.flatMap((point) => ends(point, "x")), LEFT, width - RIGHT);
      const y = scale(visible.flatMap((point) => ends(point, "y")), HEIGHT - BOTTOM, TOP);
      svg.replaceChildren(axes(data, width, x, y));
      if (all) for (const label of labels.filter((name) => !hidden.has(name))) {
        const path = shown.filter((point) => point.label === label);
        svg.append(element("polyline", { class: "sdc-path", "data-label": label, style: `--sdc-color:${path[0].color}`,
          points: path.map((point) => `${x.at(point.x)},${y.at(point.y)}`).join(" ") }));
      }
      svg.append(...shown.map((point) => drawPoint(point, x, y)));
      says.textContent = "Point at a marker, or reach it by the tab key, to read it. The names hide and show methods; the axes follow.";
    }

    // While a name is pointed at or has the focus, only its method is in full colour.
    function emphasise(label) {
      for (const drawn of svg.querySelectorAll("[data-label]")) {
        drawn.classList.toggle("sdc-faint", label !== null && drawn.dataset.label !== label);
      }
    }

    for (const label of labels) {
      const { color } = data.points.find((point) => point.label === label);
      const icon = element("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: "sdc-point", style: `--sdc-color:${color}` },
        element("path", { d: marker(label) }));
      const button = element("button", { type: "button", "aria-pressed": "true" }, icon, label);
      button.addEventListener("click", () => {
        if (!hidden.delete(label) && hidden.size < labels.length - 1) hidden.add(label); // one stays
        button.setAttribute("aria-pressed", String(!hidden.has(label)));
        draw();
      });
      for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => emphasise(hidden.has(label) ? null : label));
      for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => emphasise(null));
      legend.append(element("li", {}, button));
    }
    select.addEventListener("change", draw);
    const table = figure.querySelector("table");
    const folded = element("details", {}, element("summary", {}, "The points as a table"));
    table.replaceWith(folded);
    folded.append(table);
    figure.prepend(element("label", {}, "Code length: ", select), element("div", { class: "sdc-plot" }, svg, legend), says);
    draw();
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("figure.sdc-scatter").forEach(build));
})();
