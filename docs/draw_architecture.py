"""Draws docs/architecture.png: the parts of kMaX-DeepLab, and the module that implements each.

python docs/draw_architecture.py [--output=FILE]

The contents are in docs/architecture.toml.
"""

import argparse
import io
import pathlib
import tomllib

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon  # noqa: E402
from PIL import Image  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent
# Inches, which are the units of all coordinates.
WIDTH, HEIGHT, DPI = 12.0, 8.75, 150
INK, LINE, PATH, TRAINING = "#1f2933", "#52606d", "#2f5d94", "#b85c00"
COLORS = {"plain": "#f3f5f7", "blue": "#dcebfa", "green": "#def3e4", "violet": "#ece6f9", "orange": "#fef4e6", "white": "white"}


def write(axes: Axes, x: float, y: float, text: str, size: float = 10.5, color: str = INK, weight: str = "normal") -> None:
    """Centered text."""
    axes.text(x, y, text, size=size, color=color, weight=weight, ha="center", va="center", linespacing=1.2)


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, text: str, *, training: bool) -> None:
    """A rounded box with its lower left corner at x, y; dashed if it exists only in training."""
    style = "round,pad=0,rounding_size=0.07"
    edge = {"edgecolor": TRAINING, "linestyle": "--"} if training else {"edgecolor": LINE}
    axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=COLORS[color], linewidth=1.1, **edge))
    write(axes, x + width / 2, y + height / 2, text)


def arrow(axes: Axes, points: list[tuple[float, float]], *, training: bool) -> None:
    """A line through the points, with a head at the last one; dashed if it exists only in training."""
    color, style = (TRAINING, "--") if training else (LINE, "-")
    axes.plot(*zip(*points), color=color, linestyle=style, linewidth=1.3, solid_joinstyle="round")
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(points[-2], points[-1], color=color, linewidth=0.5, **style))


def draw() -> Figure:
    """The picture."""
    figure = plt.figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")
    content = tomllib.loads((FOLDER / "architecture.toml").read_text(encoding="utf-8"))
    # One kMaX decoder is enlarged below the column of all of them.
    zoom = [(6.5, 4.0), (8.5, 4.0), (11.85, 3.65), (4.0, 3.65)]
    axes.add_patch(Polygon(zoom, facecolor=COLORS["violet"], linewidth=0, alpha=0.5))
    for prefix in ("", "training_"):
        for entry in content[f"{prefix}boxes"]:
            box(axes, *entry, training=bool(prefix))
        for points in content[f"{prefix}arrows"]:
            arrow(axes, points, training=bool(prefix))
    for x, y, title, module in content["headings"]:
        write(axes, x, y, title, 12.5, weight="bold")
        write(axes, x, y - 0.24, module, 9.5, PATH)
    for x, y, text in content["texts"]:
        write(axes, x, y, text)
    for x, y, module in content["modules"]:
        write(axes, x, y, module, 9.5, PATH)
    write(axes, 1.0, 4.12, "training only", 12.5, TRAINING, "bold")
    axes.add_patch(Circle((7.8, 1.0), 0.17, facecolor="white", edgecolor=LINE, linewidth=1.1))
    write(axes, 7.8, 1.0, "+", 13)
    for x, y in content["losses"]:
        axes.add_patch(Circle((x, y), 0.13, facecolor=TRAINING, edgecolor="white", linewidth=1.2, zorder=3))
        axes.text(x, y - 0.01, "L", size=10, color="white", weight="bold", ha="center", va="center", zorder=4)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER / "architecture.png", help="the PNG to write")
    output = parser.parse_args().output
    picture = io.BytesIO()
    draw().savefig(picture, format="png", dpi=DPI)
    Image.open(picture).convert("RGB").quantize(64).save(output, optimize=True)


if __name__ == "__main__":
    main()
