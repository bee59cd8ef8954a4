"""Keeps the losses of a run and draws them beside the metrics of its evaluations."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from trainer.progress import shown_terms

_LINE = {"linewidth": 1.2}


class Curves:
    """The losses of the run in a model_dir: `train/losses.jsonl`, and the picture `train/curves.png`."""

    def __init__(self, model_dir: pathlib.Path):
        self._folder = model_dir / "train"

    def add(self, step: int, terms: Mapping[str, float]) -> None:
        """Adds the mean loss terms of the steps before `step`, under the names of the progress line."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = {"step": step} | {name: round(value, 6) for name, value in shown_terms(terms).items()}
        with open(self._folder / "losses.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def draw(self, metrics: Sequence[Mapping[str, float | None]]) -> None:
        """Draws the losses, and PQ of `metrics`, one for each evaluation."""
        losses = self._losses()
        figure = Figure(figsize=(11, 4.5), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2)
        for name in losses[-1] if losses else ():
            if name != "step":
                values = [(entry["step"], entry[name]) for entry in losses if name in entry]
                left.plot(*zip(*values), label=name, **_LINE | ({"color": "black", "linewidth": 2} if name == "loss" else {}))
        for name, title in (("pq", "PQ"), ("pq_things", "PQ things"), ("pq_stuff", "PQ stuff"), ("mean_iou", "mIoU")):
            values = [(entry["step"], entry[name]) for entry in metrics if entry.get(name) is not None]
            if values:
                right.plot(*zip(*values), marker="o", label=title, **_LINE | ({"color": "black"} if name == "pq" else {}))
        for axes, title in ((left, "loss and its terms (training)"), (right, "evaluation, percent")):
            axes.set(title=title, xlabel="step")
            axes.grid(linewidth=0.3)
            if axes.lines:
                axes.legend(fontsize=8)
        left.set_yscale("log")
        right.set_ylim(0, None)
        figure.savefig(self._folder / "curves.png")

    def _losses(self) -> list[dict[str, float]]:
        """The lines of the file without those that a resumed run has made again, or that a crash has cut off."""
        path, kept = self._folder / "losses.jsonl", []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            kept = (
                [other for other in kept if other["step"] < entry["step"]]
                if kept and kept[-1]["step"] >= entry["step"]
                else kept
            )
            kept.append(entry)
        return kept
