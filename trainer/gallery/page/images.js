// The grid of images with its filters.
"use strict";

function select() {
  const position = state.class === "" ? null : Number(state.class);
  const wanted = state.search.toLowerCase();
  const kinds = { 1: "missed", 2: "wrong", 3: "confused" };
  const rows = [];
  for (const image of data.images) {
    if (wanted && !image.name.toLowerCase().includes(wanted)) continue;
    let pq = image.pq,
      counts = image.counts;
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
    "button",
    { class: "card", onclick: () => openViewer(position) },
    frame(image, state.layer, { lazy: true }),
    element(
      "div",
      { class: "caption" },
      element("span", { class: "title", title: image.name }, image.name),
      element("span", { class: "pq", style: { background: scoreColor(pq) } }, number(pq)),
      ...chip("missed", counts.missed, "missed"),
      ...chip("wrong", counts.wrong, "false"),
      ...chip("confused", counts.confused, "confused"),
    ),
  );
}

const observer = new IntersectionObserver(
  (entries) => {
    if (entries.some((entry) => entry.isIntersecting)) drawMore();
  },
  { rootMargin: "1200px" },
);

function drawMore() {
  const next = state.shown.slice(state.drawn, state.drawn + PAGE);
  byId("grid").append(...next.map((row, i) => card(row, state.drawn + i)));
  state.drawn += next.length;
  // An observer reports changes only: observing again reports the end of the grid if it is still in view.
  observer.unobserve(byId("more"));
  if (state.drawn < state.shown.length) observer.observe(byId("more"));
}

function layerButtons(box, layers, current, choose) {
  box.replaceChildren(
    ...layers.map(([layer, title]) =>
      element("button", { "aria-pressed": layer === current(), onclick: () => choose(layer) }, title),
    ),
  );
}

function setLayer(layer) {
  state.layer = layer;
  layerButtons(byId("layers"), LAYERS, () => state.layer, setLayer);
  drawKey(byId("key"), layer);
  document
    .querySelectorAll("#grid .card")
    .forEach((node, i) => node.querySelector(".frame").replaceWith(frame(state.shown[i].image, layer, { lazy: true })));
}

const ERROR_TEXTS = {
  missed: "missed segment",
  wrong: "false positive (striped)",
  confused: "right segment, wrong class",
  inaccurate: "inaccurate outline",
};
function drawKey(box, layer) {
  const texts = layer === "errors" ? Object.entries(ERROR_TEXTS) : [];
  box.replaceChildren(...texts.map(([kind, text]) => element("span", {}, dot(data.errorColors[kind]), text)));
}

function fillClasses(box, all) {
  box.replaceChildren(
    element("option", { value: "" }, all),
    ...data.classes
      .map((entry, i) => [entry, i])
      .filter(([entry]) => entry.tp + entry.fp + entry.fn)
      .sort((a, b) => a[0].name.localeCompare(b[0].name))
      .map(([entry, i]) => element("option", { value: i }, entry.name)),
  );
}

function showImages(changes) {
  Object.assign(state, { class: "", errors: "", search: "" }, changes);
  for (const id of ["class", "errors", "search"]) byId(id).value = state[id];
  select();
  openTab("images");
}
