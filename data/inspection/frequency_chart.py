"""Draws how often each class occurs."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from data.inspection.scan import Scan

_ROW_INCHES = 0.24
_BAR = 0.8
# Bars of the second section are lighter.
_OPACITY = (1.0, 0.45)
# Start of the axes: below one segment, and at this percentage of the pixels.
_LEAST_SEGMENTS, _LEAST_PERCENT = 0.5, 0.001


def save_frequencies(scans: Sequence[Scan], path: pathlib.Path) -> None:
    """Writes a PNG with one row per class, most frequent first: its segments and its share of the labeled pixels per section.

    The axes are logarithmic; classes that never occur have no bar and a red name.
    """
    classes = sorted(scans[0].counts.info.classes, key=lambda c: -max(_pixel_share(scan, c.id) for scan in scans))
    figure = Figure(figsize=(10, 1.2 + _ROW_INCHES * len(classes)), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(classes))
    height = _BAR / len(scans)
    colors = [tuple(channel / 255 for channel in c.color) for c in classes]
    for k, scan in enumerate(scans):
        segments = [scan.counts.class_segments[c.id] + scan.counts.crowds[c.id] for c in classes]
        shares = [100 * _pixel_share(scan, c.id) for c in classes]
        for axes, values in ((left, segments), (right, shares)):
            centers = rows - _BAR / 2 + (k + 0.5) * height
            axes.barh(centers, values, height, color=colors, alpha=_OPACITY[k], edgecolor="black", linewidth=0.4)
    names = " (upper bars), ".join(scan.section.name for scan in scans) + " (lower bars)" * (len(scans) > 1)
    left.set_title(f"segments: {names}", fontsize=9)
    right.set_title("% of labeled pixels", fontsize=9)
    for axes, least in ((left, _LEAST_SEGMENTS), (right, _LEAST_PERCENT)):
        axes.set_xscale("log")
        axes.set_xlim(left=least)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
    left.set_yticks(rows, [c.name for c in classes], fontsize=8)
    left.set_ylim(len(classes) - 0.5, -0.5)
    for c, label in zip(classes, left.get_yticklabels(), strict=True):
        if all(c.id in scan.counts.absent for scan in scans):
            label.set_color("red")
    figure.savefig(path)


def _pixel_share(scan: Scan, class_id: int) -> float:
    pixels = scan.counts.class_pixels
    return pixels[class_id] / max(sum(pixels.values()), 1)
