// Statistics of window.GALLERY: counts of segments, the tables of classes and confusions, and quality by size.
"use strict";

const MATCHED = 0,
  MISSED = 1,
  WRONG = 2,
  CONFUSED = 3,
  IGNORED = 4;
// Columns of the rows of segments.
const KIND = 0,
  TRUE_CLASS = 1,
  PREDICTED_CLASS = 2,
  IOU = 3,
  AREA = 4,
  X = 5,
  Y = 6,
  SCORE = 7;

const isOf = (segment, position) => segment[TRUE_CLASS] === position || segment[PREDICTED_CLASS] === position;

// True and false positives, false negatives and the sum of IoU; of one class, unless it is null.
function countSegments(segments, position = null) {
  const counts = { tp: 0, fp: 0, fn: 0, iou: 0, missed: 0, wrong: 0, confused: 0 };
  for (const segment of segments) {
    const kind = segment[KIND];
    const ofTrue = position === null || segment[TRUE_CLASS] === position;
    const ofPredicted = position === null || segment[PREDICTED_CLASS] === position;
    if (kind === MATCHED && ofTrue) {
      counts.tp += 1;
      counts.iou += segment[IOU];
    }
    if ((kind === MISSED || kind === CONFUSED) && ofTrue) counts.fn += 1;
    if ((kind === WRONG || kind === CONFUSED) && ofPredicted) counts.fp += 1;
    if (kind === MISSED && ofTrue) counts.missed += 1;
    if (kind === WRONG && ofPredicted) counts.wrong += 1;
    if (kind === CONFUSED && (ofTrue || ofPredicted)) counts.confused += 1;
  }
  return counts;
}

// PQ in percent; null without segments.
function quality({ tp, fp, fn, iou }) {
  const size = tp + (fp + fn) / 2;
  return size ? (100 * iou) / size : null;
}

// [true class, predicted class, number], most frequent first.
function frequentConfusions(images) {
  const counts = new Map();
  for (const image of images) {
    for (const segment of image.segments) {
      if (segment[KIND] !== CONFUSED) continue;
      const key = `${segment[TRUE_CLASS]},${segment[PREDICTED_CLASS]}`;
      counts.set(key, (counts.get(key) || 0) + 1);
    }
  }
  return [...counts].map(([key, count]) => [...key.split(",").map(Number), count]).sort((a, b) => b[2] - a[2]);
}

// Counts of segments by size: side = square root of the area, in powers of two.
function countsBySize(images, position = null) {
  const bins = [];
  for (const image of images) {
    for (const segment of image.segments) {
      const bin = Math.max(0, Math.floor(Math.log2(Math.sqrt(segment[AREA]))));
      while (bins.length <= bin) bins.push([]);
      bins[bin].push(segment);
    }
  }
  return bins.map((segments, bin) => ({ from: 2 ** bin, to: 2 ** (bin + 1), ...countSegments(segments, position) }));
}

// A chart of PQ and RQ by size, as SVG text; all of its values are numbers.
function sizeChart(bins) {
  const used = bins.filter((bin) => bin.tp + bin.fp + bin.fn);
  if (!used.length) return "<p class='note'>No segments.</p>";
  const width = 960,
    height = 380,
    left = 50,
    bottom = 70,
    top = 20;
  const step = (width - left - 20) / used.length,
    scale = (height - bottom - top) / 100;
  const parts = [0, 25, 50, 75, 100].map((v) => {
    const y = height - bottom - v * scale;
    return (
      `<line x1="${left}" x2="${width - 20}" y1="${y}" y2="${y}" stroke="currentColor" opacity=".15"/>` +
      `<text x="${left - 8}" y="${y + 4}" text-anchor="end">${v}</text>`
    );
  });
  used.forEach((bin, i) => {
    const x = left + i * step,
      count = bin.tp + bin.fn,
      barWidth = Math.min(step * 0.32, 60);
    const values = [
      [quality(bin), "#2563eb", "PQ"],
      [(100 * bin.tp) / (bin.tp + (bin.fp + bin.fn) / 2), "#93b4f5", "RQ"],
    ];
    values.forEach(([value, color, name], n) => {
      const barX = x + step / 2 + (n - 1) * barWidth,
        y = height - bottom - value * scale;
      parts.push(
        `<rect x="${barX}" y="${y}" width="${barWidth - 3}" height="${value * scale}" rx="2" fill="${color}">` +
          `<title>${name} ${value.toFixed(1)}, ${bin.tp} matched, ${bin.fn} missed, ${bin.fp} false positives</title></rect>` +
          `<text x="${barX + barWidth / 2 - 2}" y="${y - 5}" text-anchor="middle">${value.toFixed(0)}</text>`,
      );
    });
    parts.push(
      `<text x="${x + step / 2}" y="${height - bottom + 20}" text-anchor="middle">${bin.from}–${bin.to} px</text>` +
        `<text x="${x + step / 2}" y="${height - bottom + 38}" text-anchor="middle" opacity=".75">${count} true</text>`,
    );
  });
  parts.push(
    `<rect x="${left}" y="${height - 22}" width="12" height="12" fill="#2563eb"/><text x="${left + 18}" y="${height - 11}">PQ</text>` +
      `<rect x="${left + 60}" y="${height - 22}" width="12" height="12" fill="#93b4f5"/><text x="${left + 78}" y="${height - 11}">RQ</text>`,
  );
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Quality by segment size">${parts.join("")}</svg>`;
}
