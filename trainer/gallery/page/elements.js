// Elements that all parts of the page use. Texts of files are set as text, never as HTML.
"use strict";

const data = window.GALLERY;
if (!data) {
  document.body.textContent = "data.js is missing: the gallery is not finished. Run evaluate.py again.";
  throw new Error("data.js is missing");
}
const LAYERS = [
  ["image", "Image"],
  ["prediction", "Prediction"],
  ["truth", "Truth"],
  ["errors", "Errors"],
];
const PAGE = 48;
const state = {
  layer: "prediction",
  sort: "worst",
  class: "",
  errors: "",
  search: "",
  opacity: 1,
  shown: [],
  drawn: 0,
  open: -1,
  viewerLayer: "prediction",
};

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
const picture = (image, kind) =>
  `pictures/${kind}/${String(image.number).padStart(6, "0")}.${kind === "image" ? "jpg" : "png"}`;
// Red over amber to green.
const scoreColor = (pq) => (pq === null ? "#667085" : `hsl(${Math.round(Math.min(pq, 100) * 1.3)} 62% 36%)`);

data.images.forEach((image, position) => {
  image.number = position;
  image.counts = countSegments(image.segments);
});

function frame(image, layer, { lazy = false } = {}) {
  const options = { alt: "", decoding: "async", ...(lazy ? { loading: "lazy" } : {}) };
  const box = element("div", { class: "frame" }, element("img", { ...options, src: picture(image, "image") }));
  if (layer !== "image")
    box.append(element("img", { ...options, class: "layer", src: picture(image, layer), style: { opacity: state.opacity } }));
  return box;
}
