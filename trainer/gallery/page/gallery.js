// The page of the gallery. Texts of files are set as text, never as HTML.
"use strict";

const data = window.GALLERY;
if (!data) {
  document.body.textContent = "data.js is missing: the gallery is not finished. Run evaluate.py again.";
  throw new Error("data.js is missing");
}
const LAYERS = [["image", "Image"], ["prediction", "Prediction"], ["truth", "Truth"], ["errors", "Errors"]];
const PAGE = 48;
const state = { layer: "prediction", sort: "worst", class: "", errors: "", search: "", opacity: 1, shown: [], drawn: 0, open: -1, viewerLayer: "prediction" };

const byId = (id) => document.getElementById(id);
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
const rgb = (color) => `rgb(${color.join(",")})`;
const number = (value, digits = 1) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const className = (position) => (position < 0 ? "void" : data.classes[position].name);
const dot = (color) => element("i", { class: "dot", style: { background: rgb(color) } });
const picture = (image, kind) => `pictures/${kind}/${String(image.number).padStart(6, "0")}.${kind === "image" ? "jpg" : "png"}`;
// Red over amber to green.
const scoreColor = (pq) => (pq === null ? "#667085" : `hsl(${Math.round(Math.min(pq, 100) * 1.3)} 62% 36%)`);

data.images.forEach((image, position) => {
  image.number = position;
  image.counts = countSegments(image.segments);
});

function frame(image, layer, { lazy = false } = {}) {
  const options = { alt: "", decoding: "async", ...(lazy ? { loading: "lazy" } : {}) };
  const box = element("div", { class: "frame" }, element("img", { ...options, src: picture(image, "image") }));
  if (layer !== "image") box.append(element("img", { ...options, class: "layer", src: picture(image, layer), style: { opacity: state.opacity } }));
  return box;
}

// --- Images ---
function select() {
  const position = state.class === "" ? null : Number(state.class);
  const wanted = state.search.toLowerCase();
  const kinds = { 1: "missed", 2: "wrong", 3: "confused" };
  const rows = [];
  for (const image of data.images) {
    if (wanted && !image.name.toLowerCase().includes(wanted)) continue;
    let pq = image.pq, counts = image.counts;
    if (position !== null) {
      if (!image.segments.some((segment) => isOf(segment, position))) continue;
      counts = countSegments(image.segments, position);
      pq = quality(counts);
    }
    if (state.errors && !counts[kinds[state.errors]]) continue;
    rows.push({ image, pq, counts });
  }
  const last = (pq, sign) => (pq === null ? Infinity : sign * pq);
  const orders = {
    worst: (a, b) => last(a.pq, 1) - last(b.pq, 1),
    best: (a, b) => last(a.pq, -1) - last(b.pq, -1),
    errors: (a, b) => b.counts.fp + b.counts.fn - a.counts.fp - a.counts.fn,
    name: (a, b) => a.image.name.localeCompare(b.image.name, undefined, { numeric: true }),
  };
  // Infinity - Infinity is not a number; such images keep their order.
  state.shown = rows.sort((a, b) => orders[state.sort](a, b) || a.image.number - b.image.number);
  state.drawn = 0;
  byId("grid").replaceChildren();
  byId("count").textContent = `${rows.length} of ${data.images.length} images`;
  if (!rows.length) byId("grid").append(element("p", { class: "empty" }, "No image matches these filters."));
  drawMore();
}

function chip(kind, count, text) {
  return count ? [element("span", { class: "chip" }, dot(data.errorColors[kind]), `${count} ${text}`)] : [];
}

function card({ image, pq, counts }, position) {
  return element(
    "button", { class: "card", onclick: () => openViewer(position) },
    frame(image, state.layer, { lazy: true }),
    element(
      "div", { class: "caption" },
      element("span", { class: "title", title: image.name }, image.name),
      element("span", { class: "pq", style: { background: scoreColor(pq) } }, number(pq)),
      ...chip("missed", counts.missed, "missed"), ...chip("wrong", counts.wrong, "false"), ...chip("confused", counts.confused, "confused"),
    ),
  );
}

const observer = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) drawMore();
}, { rootMargin: "1200px" });

function drawMore() {
  const next = state.shown.slice(state.drawn, state.drawn + PAGE);
  byId("grid").append(...next.map((row, i) => card(row, state.drawn + i)));
  state.drawn += next.length;
  // An observer reports changes only: observing again reports the end of the grid if it is still in view.
  observer.unobserve(byId("more"));
  if (state.drawn < state.shown.length) observer.observe(byId("more"));
}

function layerButtons(box, layers, current, choose) {
  box.replaceChildren(...layers.map(([layer, title]) =>
    element("button", { "aria-pressed": layer === current(), onclick: () => choose(layer) }, title)));
}

function setLayer(layer) {
  state.layer = layer;
  layerButtons(byId("layers"), LAYERS, () => state.layer, setLayer);
  drawKey(byId("key"), layer);
  document.querySelectorAll("#grid .card").forEach((node, i) => node.querySelector(".frame").replaceWith(frame(state.shown[i].image, layer, { lazy: true })));
}

const ERROR_TEXTS = {
  missed: "missed segment", wrong: "false positive (striped)", confused: "right segment, wrong class", inaccurate: "inaccurate outline",
};
function drawKey(box, layer) {
  const texts = layer === "errors" ? Object.entries(ERROR_TEXTS) : [];
  box.replaceChildren(...texts.map(([kind, text]) => element("span", {}, dot(data.errorColors[kind]), text)));
}

function fillClasses(box, all) {
  box.replaceChildren(element("option", { value: "" }, all), ...data.classes
    .map((entry, i) => [entry, i]).filter(([entry]) => entry.tp + entry.fp + entry.fn)
    .sort((a, b) => a[0].name.localeCompare(b[0].name))
    .map(([entry, i]) => element("option", { value: i }, entry.name)));
}

function showImages(changes) {
  Object.assign(state, { class: "", errors: "", search: "" }, changes);
  for (const id of ["class", "errors", "search"]) byId(id).value = state[id];
  select();
  openTab("images");
}

// --- Viewer ---
const VIEWER_LAYERS = [...LAYERS, ["all", "All"]];

function openViewer(position) {
  state.open = position;
  state.viewerLayer = state.layer;
  byId("viewer").showModal(); // before drawing, which needs its size
  drawViewer();
}

function setViewerLayer(layer) {
  state.viewerLayer = layer;
  drawStage();
  drawKey(byId("viewer-key"), layer === "all" ? "errors" : layer);
  layerButtons(byId("viewer-layers"), VIEWER_LAYERS, () => state.viewerLayer, setViewerLayer);
}

function drawViewer() {
  const { image } = state.shown[state.open];
  history.replaceState(null, "", `#image=${encodeURIComponent(image.name)}`);
  byId("viewer-name").textContent = image.name;
  byId("viewer-score").textContent = `PQ ${number(image.pq)} · ${image.counts.tp} matched, ${image.counts.missed} missed, ` +
    `${image.counts.wrong} false, ${image.counts.confused} confused · ${state.open + 1} of ${state.shown.length}`;
  const order = [CONFUSED, MISSED, WRONG, MATCHED, IGNORED];
  const sorted = [...image.segments].sort((a, b) => order.indexOf(a[KIND]) - order.indexOf(b[KIND]) || b[AREA] - a[AREA]);
  byId("segments").replaceChildren(...sorted.map(segmentRow));
  setViewerLayer(state.viewerLayer);
}

function segmentRow(segment) {
  const kind = segment[KIND];
  const colors = { [MISSED]: "missed", [WRONG]: "wrong", [CONFUSED]: "confused" };
  const shownClass = segment[TRUE_CLASS] < 0 ? segment[PREDICTED_CLASS] : segment[TRUE_CLASS];
  const title = kind === CONFUSED ? `${className(segment[TRUE_CLASS])} → ${className(segment[PREDICTED_CLASS])}` : className(shownClass);
  const texts = { [MATCHED]: "matched", [MISSED]: "missed", [WRONG]: "false positive", [CONFUSED]: "confused", [IGNORED]: "not counted" };
  const details = [texts[kind], ...(segment[SCORE] === null ? [] : [`score ${number(segment[SCORE], 2)}`])].join(", ");
  return element(
    "div", { class: "segment", onmouseenter: () => mark(segment), onmouseleave: () => mark(null) },
    dot(colors[kind] ? data.errorColors[colors[kind]] : data.classes[shownClass].color),
    element("span", {}, title, element("br"), element("small", {}, details)),
    element("small", {}, segment[IOU] === null ? `${segment[AREA]} px` : `IoU ${number(segment[IOU], 2)}`),
  );
}

function drawStage() {
  const { image } = state.shown[state.open];
  const all = state.viewerLayer === "all";
  const stage = byId("stage");
  stage.className = all ? "stage all" : "stage";
  stage.replaceChildren(...LAYERS.filter(([layer]) => all || layer === state.viewerLayer).map(([layer, title]) => {
    const box = frame(image, layer);
    if (all) box.append(element("figcaption", {}, title));
    else if (byId("names").checked) box.append(...tags(image, layer));
    return box;
  }));
  fitStage();
}

// The largest frames with the shape of the image.
function fitStage() {
  const { image } = state.shown[state.open];
  const stage = byId("stage"), parts = stage.className === "stage" ? 1 : 2;
  const room = [(stage.clientWidth - 24 - 8 * (parts - 1)) / parts, (stage.clientHeight - 24 - 8 * (parts - 1)) / parts];
  const scale = Math.min(room[0] / image.size[0], room[1] / image.size[1]);
  for (const box of stage.children) Object.assign(box.style, { width: `${image.size[0] * scale}px`, height: `${image.size[1] * scale}px` });
}

function tags(image, layer) {
  if (layer === "image") return [];
  const column = layer === "prediction" ? PREDICTED_CLASS : TRUE_CLASS;
  const wanted = (segment) => (layer === "errors" ? [MISSED, WRONG, CONFUSED].includes(segment[KIND]) : segment[column] >= 0);
  return image.segments.filter(wanted).filter((segment) => segment[AREA] > 0.002 * image.pixels).map((segment) => {
    const position = layer === "errors" ? Math.max(segment[TRUE_CLASS], -1) : segment[column];
    const text = segment[KIND] === CONFUSED && layer === "errors"
      ? `${className(segment[TRUE_CLASS])} → ${className(segment[PREDICTED_CLASS])}`
      : className(position < 0 ? segment[PREDICTED_CLASS] : position) +
        (layer === "prediction" && segment[SCORE] !== null ? ` ${number(segment[SCORE], 2)}` : "");
    const color = data.classes[position < 0 ? segment[PREDICTED_CLASS] : position].color;
    return element("span", { class: "tag", style: { left: `${100 * segment[X]}%`, top: `${100 * segment[Y]}%`, borderColor: rgb(color) } }, text);
  });
}

function mark(segment) {
  document.querySelectorAll(".mark").forEach((node) => node.remove());
  if (!segment) return;
  for (const box of byId("stage").children) {
    box.append(element("span", { class: "mark", style: { left: `${100 * segment[X]}%`, top: `${100 * segment[Y]}%` } }));
  }
}

function step(by) {
  const next = state.open + by;
  if (next < 0 || next >= state.shown.length) return;
  while (state.drawn <= next) drawMore();
  state.open = next;
  drawViewer();
}

// --- Tables ---
function table(box, columns, rows, click) {
  let order = { column: -1, down: true };
  function draw() {
    const sorted = order.column < 0 ? rows : [...rows].sort((a, b) => {
      const [x, y] = [a, b].map(columns[order.column].value);
      return (typeof x === "string" ? x.localeCompare(y) : (y ?? -1) - (x ?? -1)) * (order.down ? 1 : -1);
    });
    const head = columns.map((column, i) => element(
      "th", { class: column.left ? "left" : "", ...(order.column === i ? { "aria-sort": order.down ? "descending" : "ascending" } : {}) },
      element("button", { onclick: () => { order = { column: i, down: order.column === i ? !order.down : true }; draw(); } }, column.title),
    ));
    box.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...sorted.map((row) =>
      element("tr", { onclick: () => click(row) }, ...columns.map((column) => element("td", { class: column.left ? "left" : "" }, ...[column.cell ? column.cell(row) : number(column.value(row))].flat()))))));
  }
  draw();
}

function drawClasses() {
  const rows = data.classes.map((entry, i) => ({ ...entry, position: i })).filter((row) => row.tp + row.fp + row.fn);
  const whole = (key, title) => ({ title, value: (row) => row[key], cell: (row) => String(row[key]) });
  const bar = (row) => element("span", { class: "bar" }, element("i", { style: { width: `${row.pq}%` } }));
  const boundary = "boundary_pq" in data.result ? [{ title: "Boundary PQ", value: (row) => row.boundary_pq }] : [];
  table(byId("class-table"), [
    { title: "Class", value: (row) => row.name, left: true, cell: (row) => element("span", { class: "name" }, dot(row.color), row.name) },
    { title: "Kind", value: (row) => (row.thing ? "thing" : "stuff"), left: true, cell: (row) => (row.thing ? "thing" : "stuff") },
    { title: "PQ", value: (row) => row.pq }, { title: "", value: (row) => row.pq, cell: bar },
    { title: "SQ", value: (row) => row.sq }, { title: "RQ", value: (row) => row.rq }, ...boundary,
    whole("tp", "Matched"), whole("fp", "False"), whole("fn", "Missed"),
  ], rows, (row) => showImages({ class: String(row.position) }));
}

function drawConfusions() {
  const named = (position) => element("span", { class: "name" }, dot(data.classes[position].color), className(position));
  table(byId("confused"), [
    { title: "True class", value: (row) => className(row[0]), left: true, cell: (row) => named(row[0]) },
    { title: "Predicted class", value: (row) => className(row[1]), left: true, cell: (row) => named(row[1]) },
    { title: "Segments", value: (row) => row[2], cell: (row) => String(row[2]) },
  ], frequentConfusions(data.images).slice(0, 200), (row) => showImages({ class: String(row[0]), errors: "3" }));
  const used = data.classes.map((_, i) => i).filter((i) => data.classes[i].tp + data.classes[i].fp + data.classes[i].fn);
  const place = new Map(used.map((position, i) => [position, i]));
  place.set(-1, used.length);
  const sums = new Map();
  for (const [row, , pixels] of data.confusion) sums.set(row, (sums.get(row) || 0) + pixels);
  const canvas = byId("matrix"), size = Math.max(5, Math.min(34, Math.floor(620 / (used.length + 1)))), text = size >= 11;
  const left = text ? 120 : 4;
  canvas.width = left + size * (used.length + 1) + (text ? 60 : 4);
  canvas.height = size * used.length + (text ? 110 : 8);
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.body);
  pen.fillStyle = style.color;
  pen.font = `${Math.min(13, size - 1)}px ${style.fontFamily}`;
  if (text) {
    used.concat(-1).forEach((position, i) => {
      pen.save();
      pen.translate(left + (i + 0.65) * size, size * used.length + 8);
      pen.rotate(Math.PI / 3);
      pen.fillText(className(position), 0, 0, 110);
      pen.restore();
      if (position >= 0) { pen.textAlign = "right"; pen.fillText(className(position), left - 6, (i + 0.7) * size, left - 8); pen.textAlign = "left"; }
    });
  }
  pen.strokeStyle = "#8884";
  const cells = new Map();
  for (const [row, column, pixels] of data.confusion) {
    if (!place.has(row) || !place.has(column)) continue;
    const share = pixels / sums.get(row), y = place.get(row), x = place.get(column);
    cells.set(`${y},${x}`, `${className(row)} → ${className(column)}: ${(100 * share).toFixed(1)} % of ${sums.get(row).toLocaleString("en")} pixels`);
    pen.fillStyle = row === column ? `rgba(37, 140, 90, ${share})` : `rgba(217, 60, 20, ${Math.min(1, Math.sqrt(share))})`;
    pen.fillRect(left + x * size, y * size, size, size);
  }
  for (let y = 0; y < used.length; y += 1) for (let x = 0; x <= used.length; x += 1) if (size > 8) pen.strokeRect(left + x * size, y * size, size, size);
  canvas.onmousemove = (event) => {
    const key = `${Math.floor(event.offsetY / size)},${Math.floor((event.offsetX - left) / size)}`;
    byId("cell").textContent = cells.get(key) || " ";
  };
}

function drawSizes() {
  const chosen = byId("area-class").value;
  byId("chart").innerHTML = sizeChart(countsBySize(data.images, chosen === "" ? null : Number(chosen)));
}

// --- Page ---
const DRAW = { images: () => {}, classes: drawClasses, confusion: drawConfusions, areas: drawSizes };
function openTab(name) {
  document.querySelectorAll("#tabs button").forEach((button) => button.setAttribute("aria-selected", button.dataset.tab === name));
  document.querySelectorAll("main").forEach((part) => { part.hidden = part.id !== name; });
  DRAW[name]();
}

function start() {
  byId("title").textContent = document.title = data.title;
  const shown = [["pq", "PQ"], ["sq", "SQ"], ["rq", "RQ"], ["pq_things", "things"], ["pq_stuff", "stuff"], ["boundary_pq", "boundaries"]];
  byId("numbers").append(...shown.filter(([key]) => key in data.result).map(([key, title]) =>
    element("div", {}, element("span", {}, title), element("b", {}, number(data.result[key])))));
  fillClasses(byId("class"), "all classes");
  fillClasses(byId("area-class"), "all classes");
  document.querySelectorAll("#tabs button").forEach((button) => button.addEventListener("click", () => openTab(button.dataset.tab)));
  for (const id of ["sort", "class", "errors"]) byId(id).addEventListener("change", (event) => { state[id] = event.target.value; select(); });
  byId("search").addEventListener("input", (event) => { state.search = event.target.value; select(); });
  byId("area-class").addEventListener("change", drawSizes);
  byId("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    document.querySelectorAll(".layer").forEach((node) => { node.style.opacity = state.opacity; });
  });
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("names").addEventListener("change", drawStage);
  byId("viewer").addEventListener("close", () => history.replaceState(null, "", location.pathname));
  window.addEventListener("resize", () => { if (byId("viewer").open) fitStage(); });
  document.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox") return;
    const inViewer = byId("viewer").open, layer = VIEWER_LAYERS[Number(event.key) - 1];
    if (inViewer && event.key === "ArrowRight") step(1);
    else if (inViewer && event.key === "ArrowLeft") step(-1);
    else if (layer && inViewer) setViewerLayer(layer[0]);
    else if (layer && layer[0] !== "all") setLayer(layer[0]);
  });
  setLayer(state.layer);
  select();
  openTab("images");
  const linked = decodeURIComponent(location.hash.replace(/^#image=/, ""));
  const position = linked ? state.shown.findIndex((row) => row.image.name === linked) : -1;
  if (position >= 0) openViewer(position);
}

start();
