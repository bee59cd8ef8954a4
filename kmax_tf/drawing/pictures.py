"""Draws panoptic maps: overlays with borders and class names, legends, contact sheets, cluster assignments."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from kmax_tf.drawing.colors import Color, segment_color
from kmax_tf.evaluation.segments import count_labels, label_runs
from protos.descriptions import DatasetInfo

_LABEL_SHARE = 0.004  # segments below this share of the picture get no name
_OPACITY = 0.55  # of the colors of segments
_GAP = 6
_WHITE, _DARK = (255, 255, 255), (32, 32, 32)


def color_panoptic(panoptic: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Colors the segments of a panoptic map [H, W]: uint8 [H, W, 3]. Void and unknown classes are black."""
    classes = info.by_id()
    runs = label_runs(panoptic)
    palette = np.empty([len(runs.values), 3], np.uint8)
    for row, label in enumerate(runs.values.tolist()):
        class_id, instance = divmod(label, info.label_divisor)
        palette[row] = segment_color(classes[class_id], instance) if class_id in classes else (0, 0, 0)
    return runs.replaced(palette).reshape(*panoptic.shape, 3)


def overlay_panoptic(
    image: np.ndarray,
    panoptic: np.ndarray,
    info: DatasetInfo,
    scores: Mapping[int, float] | None = None,
) -> np.ndarray:
    """Draws segments over an image, with white borders, dark outlines, and names on large segments.

    `image` is uint8 [H, W, 3]; `panoptic` int [H, W] is class id * label_divisor + instance id; void pixels keep the color of
    the image. `scores`, by label and in [0, 1], are written behind the names.

    Raises:
      ValueError: image and map have different sizes.
    """
    if image.shape != (*panoptic.shape, 3):
        raise ValueError(
            f"image has shape {image.shape}, expected {(*panoptic.shape, 3)}: RGB with the size of the panoptic map"
        )
    known = np.isin(panoptic // info.label_divisor, [c.id for c in info.classes])
    blend = (1 - _OPACITY) * image + _OPACITY * color_panoptic(panoptic, info)
    edges = segment_edges(panoptic)
    thickness = max(1, round(min(panoptic.shape) / 640))
    white = ndimage.binary_dilation(edges, iterations=thickness - 1) if thickness > 1 else edges
    dark = ndimage.binary_dilation(white, iterations=thickness)
    blend[dark] *= 0.55
    blend[white] = _WHITE
    drawn = np.where(known[..., None], np.rint(blend).astype(np.uint8), image)
    return _write_names(drawn, panoptic, info, scores or {})


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The labels [h, w] at the centers of the pixels of a picture of `size` (height, width)."""
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, labels.shape))
    return labels[np.ix_(rows, columns)]


def segment_edges(panoptic: np.ndarray) -> np.ndarray:
    """Pixels whose label differs from that of the right or lower neighbor, bool [H, W]."""
    edges = np.zeros(panoptic.shape, bool)
    edges[:, :-1] |= panoptic[:, :-1] != panoptic[:, 1:]
    edges[:-1] |= panoptic[:-1] != panoptic[1:]
    return edges


def _write_names(picture: np.ndarray, panoptic: np.ndarray, info: DatasetInfo, scores: Mapping[int, float]) -> np.ndarray:
    """Writes the class and score of each large segment at the point farthest from its border."""
    step = max(1, min(panoptic.shape) // 240)
    coarse = panoptic[::step, ::step]
    depth = ndimage.distance_transform_edt(np.pad(~segment_edges(coarse), 1))[1:-1, 1:-1]
    classes = info.by_id()
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    size = max(11, min(panoptic.shape) // 34)
    font = ImageFont.load_default(size)
    for label, area in count_labels(coarse).items():
        class_id = label // info.label_divisor
        if class_id not in classes or area < _LABEL_SHARE * coarse.size:
            continue
        y, x = np.unravel_index(np.argmax(np.where(coarse == label, depth, -1)), coarse.shape)
        text = _with_score(classes[class_id].name, scores.get(label))
        half = draw.textlength(text, font) / 2
        center = (float(np.clip(x * step, half + 2, max(half + 2, canvas.width - half - 2))), float(y * step))
        draw.text(center, text, _WHITE, font, anchor="mm", stroke_width=max(1, size // 9), stroke_fill=_DARK)
    return np.asarray(canvas)


def _with_score(name: str, score: float | None) -> str:
    return name if score is None else f"{name} {score:.2f}"


def legend(panoptic: np.ndarray, info: DatasetInfo, size: int = 18, scores: Mapping[int, float] | None = None) -> np.ndarray:
    """Names and colors, largest area first, on white: uint8 [rows * 1.5 * size, W, 3]; `size` in pixels.

    Without `scores`, a row for each class of the map; with them (by label, in [0, 1]), a row with the score of each segment.
    """
    classes = info.by_id()
    areas = count_labels(panoptic if scores else panoptic // info.label_divisor)
    rows = []
    for label in sorted(areas, key=lambda label: -areas[label]):
        class_id, instance = divmod(label, info.label_divisor) if scores else (label, 0)
        if class_id in classes:
            text = _with_score(classes[class_id].name, scores.get(label) if scores else None)
            rows.append(((segment_color(classes[class_id], instance),), text))
    return color_table(rows, size)


def color_table(rows: Sequence[tuple[Sequence[Color], str]], size: int) -> np.ndarray:
    """Rows of squares in some colors, each with a text, on white: uint8 [rows * 1.5 * size, W, 3]; `size` in pixels."""
    font = ImageFont.load_default(size)
    height, squares = size * 3 // 2, max([len(colors) for colors, _ in rows], default=0)
    left = squares * height + size // 2
    width = int(max([font.getlength(text) for _, text in rows], default=0)) + left + size
    canvas = Image.new("RGB", (width, max(height * len(rows), 1)), _WHITE)
    draw = ImageDraw.Draw(canvas)
    for i, (colors, text) in enumerate(rows):
        top = i * height + (height - size) // 2
        for n, color in enumerate(colors):
            x = size // 2 + n * height
            draw.rectangle((x, top, x + size - 1, top + size - 1), color, _DARK)
        draw.text((left, i * height + height / 2), text, _DARK, font, anchor="lm")
    return np.asarray(canvas)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = ()) -> np.ndarray:
    """Rows of pictures (uint8 [H, W, 3]) on white, such as (image, prediction, ground truth), with titles above the columns.

    Raises:
      ValueError: there are no pictures.
    """
    if not any(len(row) for row in rows):
        raise ValueError("a contact sheet needs at least one picture")
    columns = max(len(row) for row in rows)
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(columns)]
    heights = [max([picture.shape[0] for picture in row], default=0) for row in rows]
    text = 20 if titles else 0
    # The left and top edges, and those of one more column and row.
    lefts = np.cumsum([0] + [width + _GAP for width in widths]).tolist()
    tops = np.cumsum([2 * text] + [height + _GAP for height in heights]).tolist()
    canvas = Image.new("RGB", (lefts[-1] - _GAP, tops[-1] - _GAP), _WHITE)
    for top, row in zip(tops, rows):
        for left, picture in zip(lefts, row):
            canvas.paste(Image.fromarray(picture), (left, top))
    draw = ImageDraw.Draw(canvas)
    for left, width, title in zip(lefts, widths, titles):
        draw.text((left + width / 2, text), title, _DARK, ImageFont.load_default(text), anchor="mm")
    return np.asarray(canvas)


def cluster_assignment(slots: np.ndarray, size: tuple[int, int], colors: Mapping[int, Color]) -> np.ndarray:
    """Draws the hard assignment of pixels to cluster centers, one color per center, as in the kMaX paper: uint8 [H, W, 3].

    `slots` int [h, w] is the slot of each pixel in one kMaX decoder; `size` is the (height, width) of the picture; `colors` has
    a color for each of these slots.
    """
    palette = np.array([colors.get(i, _WHITE) for i in range(slots.max() + 1)], np.uint8)
    return np.asarray(Image.fromarray(palette[slots]).resize((size[1], size[0]), Image.Resampling.NEAREST))
