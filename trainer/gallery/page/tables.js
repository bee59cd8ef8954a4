// The tables of classes and confusions, and the chart of sizes.
"use strict";

function table(box, columns, rows, click) {
  let order = { column: -1, down: true };
  function draw() {
    const sorted =
      order.column < 0
        ? rows
        : [...rows].sort((a, b) => {
            const [x, y] = [a, b].map(columns[order.column].value);
            return (typeof x === "string" ? x.localeCompare(y) : (y ?? -1) - (x ?? -1)) * (order.down ? 1 : -1);
          });
    const head = columns.map((column, i) =>
      element(
        "th",
        {
          class: column.left ? "left" : "",
          ...(order.column === i ? { "aria-sort": order.down ? "descending" : "ascending" } : {}),
        },
        element(
          "button",
          {
            onclick: () => {
              order = { column: i, down: order.column === i ? !order.down : true };
              draw();
            },
          },
          column.title,
        ),
      ),
    );
    box.replaceChildren(
      element("thead", {}, element("tr", {}, ...head)),
      element(
        "tbody",
        {},
        ...sorted.map((row) =>
          element(
            "tr",
            { onclick: () => click(row) },
            ...columns.map((column) =>
              element(
                "td",
                { class: column.left ? "left" : "" },
                ...[column.cell ? column.cell(row) : number(column.value(row))].flat(),
              ),
            ),
          ),
        ),
      ),
    );
  }
  draw();
}

function drawClasses() {
  const rows = data.classes.map((entry, i) => ({ ...entry, position: i })).filter((row) => row.tp + row.fp + row.fn);
  const whole = (key, title) => ({ title, value: (row) => row[key], cell: (row) => String(row[key]) });
  const bar = (row) => element("span", { class: "bar" }, element("i", { style: { width: `${row.pq}%` } }));
  const boundary = "boundary_pq" in data.result ? [{ title: "Boundary PQ", value: (row) => row.boundary_pq }] : [];
  table(
    byId("class-table"),
    [
      {
        title: "Class",
        value: (row) => row.name,
        left: true,
        cell: (row) => element("span", { class: "name" }, dot(row.color), row.name),
      },
      {
        title: "Kind",
        value: (row) => (row.thing ? "thing" : "stuff"),
        left: true,
        cell: (row) => (row.thing ? "thing" : "stuff"),
      },
      { title: "PQ", value: (row) => row.pq },
      { title: "", value: (row) => row.pq, cell: bar },
      { title: "SQ", value: (row) => row.sq },
      { title: "RQ", value: (row) => row.rq },
      ...boundary,
      whole("tp", "Matched"),
      whole("fp", "False"),
      whole("fn", "Missed"),
    ],
    rows,
    (row) => showImages({ class: String(row.position) }),
  );
}

function drawConfusions() {
  const named = (position) => element("span", { class: "name" }, dot(data.classes[position].color), className(position));
  table(
    byId("confused"),
    [
      { title: "True class", value: (row) => className(row[0]), left: true, cell: (row) => named(row[0]) },
      { title: "Predicted class", value: (row) => className(row[1]), left: true, cell: (row) => named(row[1]) },
      { title: "Segments", value: (row) => row[2], cell: (row) => String(row[2]) },
    ],
    frequentConfusions(data.images).slice(0, 200),
    (row) => showImages({ class: String(row[0]), errors: "3" }),
  );
  const used = data.classes.map((_, i) => i).filter((i) => data.classes[i].tp + data.classes[i].fp + data.classes[i].fn);
  const place = new Map(used.map((position, i) => [position, i]));
  place.set(-1, used.length);
  const sums = new Map();
  for (const [row, , pixels] of data.confusion) sums.set(row, (sums.get(row) || 0) + pixels);
  const canvas = byId("matrix"),
    size = Math.max(5, Math.min(34, Math.floor(620 / (used.length + 1)))),
    text = size >= 11;
  const left = text ? 120 : 4;
  canvas.width = left + size * (used.length + 1) + (text ? 60 : 4);
  canvas.height = size * used.length + (text ? 110 : 8);
  const pen = canvas.getContext("2d"),
    style = getComputedStyle(document.body);
  pen.fillStyle = style.color;
  pen.font = `${Math.min(13, size - 1)}px ${style.fontFamily}`;
  if (text) {
    used.concat(-1).forEach((position, i) => {
      pen.save();
      pen.translate(left + (i + 0.65) * size, size * used.length + 8);
      pen.rotate(Math.PI / 3);
      pen.fillText(className(position), 0, 0, 110);
      pen.restore();
      if (position >= 0) {
        pen.textAlign = "right";
        pen.fillText(className(position), left - 6, (i + 0.7) * size, left - 8);
        pen.textAlign = "left";
      }
    });
  }
  pen.strokeStyle = "#8884";
  const cells = new Map();
  for (const [row, column, pixels] of data.confusion) {
    if (!place.has(row) || !place.has(column)) continue;
    const share = pixels / sums.get(row),
      y = place.get(row),
      x = place.get(column);
    cells.set(
      `${y},${x}`,
      `${className(row)} → ${className(column)}: ${(100 * share).toFixed(1)} % of ${sums.get(row).toLocaleString("en")} pixels`,
    );
    pen.fillStyle = row === column ? `rgba(37, 140, 90, ${share})` : `rgba(217, 60, 20, ${Math.min(1, Math.sqrt(share))})`;
    pen.fillRect(left + x * size, y * size, size, size);
  }
  for (let y = 0; y < used.length; y += 1)
    for (let x = 0; x <= used.length; x += 1) if (size > 8) pen.strokeRect(left + x * size, y * size, size, size);
  canvas.onmousemove = (event) => {
    const key = `${Math.floor(event.offsetY / size)},${Math.floor((event.offsetX - left) / size)}`;
    byId("cell").textContent = cells.get(key) || " ";
  };
}

function drawSizes() {
  const chosen = byId("area-class").value;
  byId("chart").innerHTML = sizeChart(countsBySize(data.images, chosen === "" ? null : Number(chosen)));
}
