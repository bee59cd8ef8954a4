// One image with its segments.
"use strict";

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
  byId("viewer-score").textContent =
    `PQ ${number(image.pq)} · ${image.counts.tp} matched, ${image.counts.missed} missed, ` +
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
  const title =
    kind === CONFUSED ? `${className(segment[TRUE_CLASS])} → ${className(segment[PREDICTED_CLASS])}` : className(shownClass);
  const texts = {
    [MATCHED]: "matched",
    [MISSED]: "missed",
    [WRONG]: "false positive",
    [CONFUSED]: "confused",
    [IGNORED]: "not counted",
  };
  const details = [texts[kind], ...(segment[SCORE] === null ? [] : [`score ${number(segment[SCORE], 2)}`])].join(", ");
  return element(
    "div",
    { class: "segment", onmouseenter: () => mark(segment), onmouseleave: () => mark(null) },
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
  stage.replaceChildren(
    ...LAYERS.filter(([layer]) => all || layer === state.viewerLayer).map(([layer, title]) => {
      const box = frame(image, layer);
      if (all) box.append(element("figcaption", {}, title));
      else if (byId("names").checked) box.append(...tags(image, layer));
      return box;
    }),
  );
  fitStage();
}

// The largest frames with the shape of the image.
function fitStage() {
  const { image } = state.shown[state.open];
  const stage = byId("stage"),
    parts = stage.className === "stage" ? 1 : 2;
  const room = [(stage.clientWidth - 24 - 8 * (parts - 1)) / parts, (stage.clientHeight - 24 - 8 * (parts - 1)) / parts];
  const scale = Math.min(room[0] / image.size[0], room[1] / image.size[1]);
  for (const box of stage.children)
    Object.assign(box.style, { width: `${image.size[0] * scale}px`, height: `${image.size[1] * scale}px` });
}

function tags(image, layer) {
  if (layer === "image") return [];
  const column = layer === "prediction" ? PREDICTED_CLASS : TRUE_CLASS;
  const wanted = (segment) => (layer === "errors" ? [MISSED, WRONG, CONFUSED].includes(segment[KIND]) : segment[column] >= 0);
  return image.segments
    .filter(wanted)
    .filter((segment) => segment[AREA] > 0.002 * image.pixels)
    .map((segment) => {
      const position = segment[column];
      const text =
        segment[KIND] === CONFUSED && layer === "errors"
          ? `${className(segment[TRUE_CLASS])} → ${className(segment[PREDICTED_CLASS])}`
          : className(position < 0 ? segment[PREDICTED_CLASS] : position) +
            (layer === "prediction" && segment[SCORE] !== null ? ` ${number(segment[SCORE], 2)}` : "");
      const color = data.classes[position < 0 ? segment[PREDICTED_CLASS] : position].color;
      return element(
        "span",
        { class: "tag", style: { left: `${100 * segment[X]}%`, top: `${100 * segment[Y]}%`, borderColor: rgb(color) } },
        text,
      );
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
