// Tabs, controls and keys.
"use strict";

const DRAW = { images: () => {}, classes: drawClasses, confusion: drawConfusions, areas: drawSizes };
function openTab(name) {
  document
    .querySelectorAll("#tabs button")
    .forEach((button) => button.setAttribute("aria-selected", button.dataset.tab === name));
  document.querySelectorAll("main").forEach((part) => {
    part.hidden = part.id !== name;
  });
  DRAW[name]();
}

function start() {
  byId("title").textContent = document.title = data.title;
  const shown = [
    ["pq", "PQ"],
    ["sq", "SQ"],
    ["rq", "RQ"],
    ["pq_things", "things"],
    ["pq_stuff", "stuff"],
    ["boundary_pq", "boundaries"],
  ];
  byId("numbers").append(
    ...shown
      .filter(([key]) => key in data.result)
      .map(([key, title]) => element("div", {}, element("span", {}, title), element("b", {}, number(data.result[key])))),
  );
  fillClasses(byId("class"), "all classes");
  fillClasses(byId("area-class"), "all classes");
  document
    .querySelectorAll("#tabs button")
    .forEach((button) => button.addEventListener("click", () => openTab(button.dataset.tab)));
  for (const id of ["sort", "class", "errors"])
    byId(id).addEventListener("change", (event) => {
      state[id] = event.target.value;
      select();
    });
  byId("search").addEventListener("input", (event) => {
    state.search = event.target.value;
    select();
  });
  byId("area-class").addEventListener("change", drawSizes);
  byId("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    document.querySelectorAll(".layer").forEach((node) => {
      node.style.opacity = state.opacity;
    });
  });
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("names").addEventListener("change", drawStage);
  byId("viewer").addEventListener("close", () => history.replaceState(null, "", location.pathname));
  window.addEventListener("resize", () => {
    if (byId("viewer").open) fitStage();
  });
  document.addEventListener("keydown", (event) => {
    if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox") return;
    const inViewer = byId("viewer").open,
      layer = VIEWER_LAYERS[Number(event.key) - 1];
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
