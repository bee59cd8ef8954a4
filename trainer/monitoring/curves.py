"""Draws the losses of a training run beside the metrics of its evaluations."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.evaluation.metrics_files import TITLES, read_metrics
from trainer.monitoring.progress import shown_terms

_METRICS = ("pq", "pq_things", "pq_stuff", "mean_iou")


def draw_curves(folder: pathlib.Path, evaluations: Sequence[Mapping[str, float | None]]) -> None:
    """Draws `curves.png`: the losses in `metrics.jsonl` of the same folder (training_log), and metrics of `evaluations`."""
    lines = read_metrics(folder / "metrics.jsonl")
    losses = [{"step": line["step"]} | shown_terms({k: v for k, v in line.items() if "loss" in k}) for line in lines]
    figure = Figure(figsize=(11, 4.5), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot(left, losses, {name: name for name in losses[-1] if name != "step"} if losses else {})
    left.set(title="training: loss and its terms", yscale="log")
    _plot(right, evaluations, {name: TITLES[name] for name in _METRICS}, marker="o")
    right.set(title="evaluation, percent", ylim=(0, None))
    figure.savefig(folder / "curves.png")


def _plot(axes: Axes, entries: Sequence[Mapping[str, float | None]], titles: Mapping[str, str], **style: object) -> None:
    """A line for each name in `titles` over the steps of the entries that have a value; the first one is black."""
    for number, (name, title) in enumerate(titles.items()):
        values = [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]
        if values:
            axes.plot(*zip(*values), label=title, **({"color": "black"} if number == 0 else {}), **style)
    axes.set_xlabel("step")
    axes.grid(linewidth=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
