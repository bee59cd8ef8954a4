"""Draws docs/architecture.png: the parts of kMaX-DeepLab, and the module that implements each.

python docs/draw_architecture.py [--output=FILE]
"""

import argparse
import io
import pathlib

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon  # noqa: E402
from PIL import Image  # noqa: E402

# Inches, which are the units of all coordinates.
WIDTH, HEIGHT, DPI = 12.0, 8.75, 150
INK, LINE, PATH, TRAINING = "#1f2933", "#52606d", "#2f5d94", "#b85c00"
PLAIN, BLUE, GREEN, VIOLET, ORANGE = "#f3f5f7", "#dcebfa", "#def3e4", "#ece6f9", "#fef4e6"
# What is in the picture and where it is implemented.
MODULES = {
    "pixel encoder": "kmax_tf/pixel_encoders/",
    "pixel decoder": "kmax_tf/pixel_decoder.py",
    "kMaX decoders": "kmax_tf/kmax_decoder.py",
    "one kMaX decoder": "kmax_tf/interactions/kmeans.py",
    "feed-forward network": "kmax_tf/interactions/decoder_layer.py",
    "heads": "kmax_tf/heads.py",
    "post-processing": "kmax_tf/postprocessing/",
    "semantic branch": "kmax_tf/semantic_branch.py",
    "matching": "kmax_tf/matching.py",
    "losses": "kmax_tf/losses/",
}
# Height of the row of each stride.
ROWS = {2: 7.5, 4: 6.9, 8: 6.3, 16: 5.7, 32: 5.1}


def write(axes: Axes, x: float, y: float, text: str, size: float = 10.5, color: str = INK, *, bold: bool = False) -> None:
    """Centered text."""
    weight = "bold" if bold else "normal"
    axes.text(x, y, text, size=size, color=color, weight=weight, ha="center", va="center", linespacing=1.2)


def box(
    axes: Axes, x: float, y: float, width: float, height: float, color: str, text: str = "", *, training: bool = False
) -> None:
    """A rounded box with its lower left corner at x, y; dashed if it belongs to training only."""
    style = "round,pad=0,rounding_size=0.07"
    edge = {"edgecolor": TRAINING, "linestyle": "--"} if training else {"edgecolor": LINE}
    axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=color, linewidth=1.1, **edge))
    write(axes, x + width / 2, y + height / 2, text)


def arrow(axes: Axes, *points: tuple[float, float], training: bool = False) -> None:
    """A line through the points, with a head at the last one; dashed in training only."""
    color, style = (TRAINING, "--") if training else (LINE, "-")
    axes.plot(*zip(*points), color=color, linestyle=style, linewidth=1.3, solid_joinstyle="round")
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(points[-2], points[-1], color=color, linewidth=0.5, **style))


def heading(axes: Axes, x: float, y: float, title: str) -> None:
    """A title and, below it, its module."""
    write(axes, x, y, title, 12.5, bold=True)
    write(axes, x, y - 0.24, MODULES[title], 9.5, PATH)


def supervised(axes: Axes, x: float, y: float) -> None:
    """The mark of what has a loss in training."""
    axes.add_patch(Circle((x, y), 0.13, facecolor=TRAINING, edgecolor="white", linewidth=1.2, zorder=3))
    axes.text(x, y - 0.01, "L", size=10, color="white", weight="bold", ha="center", va="center", zorder=4)


def draw_pixels(axes: Axes) -> None:
    """Image, pixel encoder and pixel decoder."""
    box(axes, 0.1, 5.85, 1.15, 0.9, PLAIN, "image\n[H, W, 3]\nsides 32k+1")
    arrow(axes, (1.25, 6.3), (1.6, 6.3))
    box(axes, 1.6, 4.75, 2.0, 3.9, BLUE)
    heading(axes, 2.6, 8.38, "pixel encoder")
    box(axes, 4.05, 4.75, 1.95, 3.9, GREEN)
    heading(axes, 5.025, 8.38, "pixel decoder")
    kinds = {4: "bottleneck", 8: "bottleneck", 16: "axial", 32: "axial"}
    for stride, y in ROWS.items():
        box(axes, 1.8, y - 0.2, 1.6, 0.4, "white", f"stride {stride}" if stride > 2 else "stride 2 or 4")
        if stride > 2:
            arrow(axes, (2.6, y + 0.4), (2.6, y + 0.2))
            box(axes, 4.2, y - 0.2, 1.65, 0.4, "white", f"{stride}: {kinds[stride]}")
            arrow(axes, (3.4, y), (4.2, y))
        if stride > 4:
            arrow(axes, (5.025, y + 0.2), (5.025, y + 0.4))


def draw_clusters(axes: Axes) -> None:
    """kMaX decoders, heads and post-processing."""
    box(axes, 6.5, 4.0, 2.0, 3.4, VIOLET)
    heading(axes, 7.5, 7.14, "kMaX decoders")
    for stride in (8, 16, 32):
        y = ROWS[stride]
        box(axes, 6.7, y - 0.2, 1.6, 0.4, "white", f"2 at stride {stride}")
        arrow(axes, (5.85, y), (6.7, y))
        arrow(axes, (7.5, y - 0.4), (7.5, y - 0.2))
    box(axes, 6.7, 4.18, 1.6, 0.52, "white", "N learned\ncluster centers")
    box(axes, 8.85, 5.85, 1.4, 2.8, PLAIN)
    heading(axes, 9.55, 8.38, "heads")
    write(axes, 9.55, 6.95, "class of each\ncenter;\nproduct of\npixels and\ncenters")
    arrow(axes, (8.3, ROWS[8]), (8.85, ROWS[8]))
    arrow(axes, (5.85, ROWS[4]), (6.25, ROWS[4]), (6.25, 7.75), (8.85, 7.75))
    write(axes, 7.55, 7.93, "pixel features")
    arrow(axes, (10.25, 7.25), (10.5, 7.25))
    box(axes, 10.5, 5.85, 1.4, 2.8, PLAIN)
    for y, text in ((7.45, "class logits\n[N, C+1]"), (6.25, "mask logits\n[h, w, N]")):
        box(axes, 10.6, y, 1.2, 0.8, "white", text)
        supervised(axes, 11.73, y + 0.78)
    arrow(axes, (11.2, 5.85), (11.2, 5.55))
    box(axes, 8.85, 4.9, 3.05, 0.65, PLAIN)
    heading(axes, 10.375, 5.36, "post-processing")
    arrow(axes, (10.375, 4.9), (10.375, 4.6))
    box(axes, 8.85, 4.1, 3.05, 0.5, PLAIN, "panoptic map [H, W]")


def draw_one_decoder(axes: Axes) -> None:
    """The inside of one kMaX decoder, below the column of all of them."""
    axes.add_patch(Polygon([(6.5, 4.0), (8.5, 4.0), (11.85, 3.65), (4.0, 3.65)], facecolor=VIOLET, linewidth=0, alpha=0.5))
    box(axes, 3.9, 0.1, 8.0, 3.55, VIOLET)
    heading(axes, 7.9, 3.4, "one kMaX decoder")
    box(axes, 4.05, 1.95, 0.95, 0.75, "white", "pixel\nfeatures")
    box(axes, 5.35, 1.95, 1.55, 0.75, "white", "predict classes\nand masks")
    supervised(axes, 6.85, 2.68)
    box(axes, 7.25, 1.95, 2.05, 0.75, "white", "assignment: each pixel\nto one center, argmax")
    box(axes, 9.65, 1.95, 2.1, 0.75, "white", "center update: sum of\nthe assigned pixels")
    box(axes, 4.05, 0.65, 0.95, 0.7, "white", "centers\n[N, E]")
    box(axes, 5.35, 0.65, 1.55, 0.7, "white", "self-attention\nof the centers")
    axes.add_patch(Circle((7.8, 1.0), 0.17, facecolor="white", edgecolor=LINE, linewidth=1.1))
    write(axes, 7.8, 1.0, "+", 13)
    box(axes, 8.45, 0.65, 1.75, 0.7, "white", "feed-forward\nnetwork")
    write(axes, 9.95, 0.45, MODULES["feed-forward network"], 9.5, PATH)
    box(axes, 10.65, 0.65, 1.1, 0.7, "white", "new\ncenters")
    for left, right in ((5.0, 5.35), (6.9, 7.25), (9.3, 9.65)):
        arrow(axes, (left, 2.33), (right, 2.33))
    for left, right in ((5.0, 5.35), (6.9, 7.63), (7.97, 8.45), (10.2, 10.65)):
        arrow(axes, (left, 1.0), (right, 1.0))
    arrow(axes, (4.525, 2.7), (4.525, 2.9), (10.7, 2.9), (10.7, 2.7))
    arrow(axes, (4.525, 1.35), (4.525, 1.65), (6.125, 1.65), (6.125, 1.95))
    arrow(axes, (10.7, 1.95), (10.7, 1.65), (7.8, 1.65), (7.8, 1.17))
    arrow(axes, (4.525, 0.65), (4.525, 0.3), (7.8, 0.3), (7.8, 0.83))


def draw_training(axes: Axes) -> None:
    """What exists in training only."""
    box(axes, 0.1, 0.1, 3.55, 4.3, ORANGE, training=True)
    write(axes, 1.0, 4.12, "training only", 12.5, TRAINING, bold=True)
    arrow(axes, (2.6, 4.75), (2.6, 3.75), training=True)
    box(axes, 0.5, 3.1, 2.75, 0.65, "white", training=True)
    heading(axes, 1.875, 3.56, "semantic branch")
    arrow(axes, (1.875, 3.1), (1.875, 2.75), training=True)
    box(axes, 0.5, 2.35, 2.75, 0.4, "white", "semantic logits [h, w, ids]", training=True)
    supervised(axes, 3.2, 2.72)
    supervised(axes, 0.45, 1.81)
    write(axes, 2.0, 1.81, "has a loss; in kMaX decoders")
    write(axes, 2.0, 1.57, "these outputs are auxiliary:")
    write(axes, 2.0, 1.31, MODULES["losses"], 9.5, PATH)
    write(axes, 1.875, 0.79, "Masks of the ground truth and slots\nare paired once, for all outputs:")
    write(axes, 1.875, 0.44, MODULES["matching"], 9.5, PATH)


def draw() -> Figure:
    """The picture."""
    figure = plt.figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")
    for draw_some in (draw_pixels, draw_clusters, draw_one_decoder, draw_training):
        draw_some(axes)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).resolve().parent / "architecture.png"
    parser.add_argument("--output", type=pathlib.Path, default=default, help="the PNG to write")
    output = parser.parse_args().output
    picture = io.BytesIO()
    draw().savefig(picture, format="png", dpi=DPI)
    Image.open(picture).convert("RGB").quantize(64).save(output, optimize=True)


if __name__ == "__main__":
    main()
