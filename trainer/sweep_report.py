"""Mean and spread over the seeds of a sweep: as a table, a plot and JSON."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kmax_tf.files.atomic import write_text
from trainer.evaluation.metrics_files import TITLES, read_metrics

# The evaluations of one run: the dicts of metrics.jsonl, ordered by step.
History = Sequence[Mapping]


def read_history(model_dir: pathlib.Path) -> list[dict]:
    """The evaluations of a run, ordered by step; none if there are none yet."""
    return sorted(read_metrics(model_dir / "eval" / "metrics.jsonl"), key=lambda metrics: metrics["step"])


def mean_and_spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and sample standard deviation; None where they are not defined: without values, or for the spread of one value."""
    defined = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(defined)) if defined else None,
        "spread": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
    }


def summarize(histories: Mapping[int, History]) -> dict:
    """Summarizes the finished runs of one experiment.

    Args:
      histories: at least one evaluation by seed. Runs end at the same step.

    Returns:
      `seeds`; `step` of the last evaluation; for each metric in percent, `mean`, `spread` and the `values` of the seeds at that
      step; `curve`: `mean` and `spread` of PQ at each `step` that all seeds have.
    """
    seeds = sorted(histories)
    last = [histories[seed][-1] for seed in seeds]
    by_step = [{metrics["step"]: metrics["pq"] for metrics in histories[seed]} for seed in seeds]
    shared = sorted(set.intersection(*map(set, by_step)))
    points = [mean_and_spread([pq[step] for pq in by_step]) for step in shared]
    return {
        "seeds": seeds,
        "step": last[0]["step"],
        "metrics": {
            name: mean_and_spread([metrics[name] for metrics in last]) | {"values": [metrics[name] for metrics in last]}
            for name in TITLES
        },
        "curve": {"step": shared} | {key: [point[key] for point in points] for key in ("mean", "spread")},
    }


def format_table(summaries: Mapping[str, Mapping]) -> str:
    """A Markdown table with a row for each experiment: its metrics in percent as mean ± spread, and hours for each run.

    `summaries` are those of `summarize` with `hours` and `cpu_hours`, the mean time of a run.
    """
    shown = [name for name in TITLES if any(s["metrics"][name]["mean"] is not None for s in summaries.values())]
    rows = [["experiment", "runs", "steps", *(TITLES[name] for name in shown), "hours", "CPU hours"]]
    for name, summary in summaries.items():
        metrics = [_cell(summary["metrics"][metric]) for metric in shown]
        hours = [f"{summary[key]:.2f}" for key in ("hours", "cpu_hours")]
        rows.append([name, str(len(summary["seeds"])), str(summary["step"]), *metrics, *hours])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cell(value: Mapping[str, float | None]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.1f}" + ("" if value["spread"] is None else f" ± {value['spread']:.1f}")


def draw_curves(summaries: Mapping[str, Mapping]) -> Figure:
    """PQ over steps: a line for the mean of each experiment, and a band of the spread around it."""
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, summary in summaries.items():
        curve = {key: np.array(values, float) for key, values in summary["curve"].items()}
        label = f"{name} ({len(summary['seeds'])})"
        (line,) = axes.plot(curve["step"], curve["mean"], marker="o", markersize=3, label=label)
        low, high = curve["mean"] - curve["spread"], curve["mean"] + curve["spread"]
        axes.fill_between(curve["step"], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="step", ylabel="PQ (%)", title="mean and standard deviation over seeds (number of runs)")
    axes.grid(alpha=0.3)
    if summaries:
        axes.legend(fontsize=8)
    return figure


def write_report(output_dir: pathlib.Path, summaries: Mapping[str, Mapping]) -> str:
    """Writes sweep.md, sweep.json and sweep.png into `output_dir`; returns the table."""
    table = format_table(summaries)
    write_text(output_dir / "sweep.md", table + "\n")
    write_text(output_dir / "sweep.json", json.dumps(summaries, indent=1) + "\n")
    draw_curves(summaries).savefig(output_dir / "sweep.png")
    return table
