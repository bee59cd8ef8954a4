"""How time and memory of inference grow with image size, batch, mask slots and decoder layers, beside the work."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from kmax_tf import load_config
from protos.errors import UserError
from trainer.measure.fresh_process import Progress, run_alone
from trainer.measure.jobs import Job, count_cost, measure_model, measure_post_processing
from trainer.measure.report import format_table

_SIZES = (321, 481, 641, 961, 1281)
_BATCHES = (1, 2, 4, 8)
_SLOTS = (64, 128, 256)
_DECODERS = (1, 2, 3)
# All series meet in one point.
_SIZE = 641
# Growth of time beyond that of the work, from one point to the next, that is marked.
_STEEPER = 1.15


@dataclasses.dataclass(frozen=True)
class Point:
    """One configuration; `value` is its place on the axis of `series`."""

    series: str
    value: int
    job: Job


def points(config_file: str, overrides: Sequence[str], steps: int) -> list[Point]:
    """All configurations to measure.

    Raises:
      ConfigError: as kmax_tf.load_config.
    """

    def point(series: str, value: int, *, size: int = _SIZE, batch: int = 1, extra: tuple[str, ...] = ()) -> Point:
        config = load_config(config_file, [*overrides, *extra])
        return Point(series, value, Job(config.SerializeToString(), size, size, batch, steps))

    head = "model_options.max_deeplab"
    return [
        *(point("image size", size, size=size) for size in _SIZES),
        *(point("batch", batch, batch=batch) for batch in _BATCHES),
        *(point("slots", slots, extra=(f"{head}.num_mask_slots={slots}",)) for slots in _SLOTS),
        *(point("decoders of each stage", n, extra=(f"{head}.num_decoders={[n] * 3}",)) for n in _DECODERS),
    ]


def measure_growth(config_file: str, overrides: Sequence[str], steps: int, progress: Progress) -> list[dict[str, Any]]:
    """Measures every configuration in processes of its own, and returns a row for each.

    Rows have `series`, `value`, `multiply_adds`, and of the model and of post-processing `seconds` for an image and
    `peak_host_mib`.
    """
    rows, done = [], {}
    planned = points(config_file, overrides, steps)
    for number, point in enumerate(planned, 1):
        title = f"[{number}/{len(planned)}] {point.series} {point.value}"
        if point.job not in done:
            done[point.job] = _measure(point.job, lambda line, title=title: progress(f"{title}: {line}"))
        rows.append({"series": point.series, "value": point.value} | done[point.job])
    return rows


def _measure(job: Job, progress: Progress) -> dict[str, Any]:
    def run(task: Callable[..., Any], job: Job) -> Any:
        return run_alone(task.__name__, task, job, progress=progress)

    cost, _ = run(count_cost, job)
    model, post = run(measure_model, job), run(measure_post_processing, job)
    return {
        "multiply_adds": cost.all_multiply_adds,
        "model_seconds": 1 / model["images_per_second"],
        "model_mib": model["peak_host_mib"],
        "post_processing_seconds": 1 / post["images_per_second"],
        "post_processing_mib": post["peak_host_mib"],
    }


def growth_report(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as tables, one for each series, with the time of the model for each multiply-add.

    A point whose time for the same work is more than 15 % above that of the point before it is marked with an asterisk.
    """
    tables = []
    for series in dict.fromkeys(row["series"] for row in rows):
        header = [series, "multiply-adds", "model", "per G", "peak", "post-processing", "peak"]
        table, before = [header], None
        for row in (row for row in rows if row["series"] == series):
            rate = row["model_seconds"] / row["multiply_adds"] * 1e9
            mark = "*" if before and rate > _STEEPER * before else ""
            before = rate
            times = f"{row['model_seconds']:.3f} s", f"{1000 * rate:.2f} ms{mark}", f"{row['model_mib']:.0f} MiB"
            post = f"{row['post_processing_seconds']:.3f} s", f"{row['post_processing_mib']:.0f} MiB"
            table.append([str(row["value"]), f"{row['multiply_adds'] / 1e9:.1f} G", *times, *post])
        tables.append(format_table(table))
    return "\n\n".join(tables) + "\n\ntime for an image; * time per multiply-add more than 15 % above the row before"


def check_picture(path: pathlib.Path) -> None:
    """Raises UserError if `draw` cannot write to `path`: the measurements before it take minutes."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in ("", *known):
        raise UserError(f"--growth={path}: {path.suffix} is not a picture format: choose a name that ends in .png")
    if not path.parent.is_dir():
        raise UserError(f"--growth={path}: the folder {path.parent} does not exist: create it")


def draw(rows: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a PNG with time and memory of each series, and the growth of the work as a dashed line."""
    names = list(dict.fromkeys(row["series"] for row in rows))
    figure = Figure(figsize=(4 * len(names), 6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        series = [row for row in rows if row["series"] == name]
        values = [row["value"] for row in series]
        work = [row["multiply_adds"] / series[0]["multiply_adds"] * series[0]["model_seconds"] for row in series]
        upper, lower = axes[0, column], axes[1, column]
        upper.plot(values, [row["model_seconds"] for row in series], "o-", label="model")
        upper.plot(values, [row["post_processing_seconds"] for row in series], "s-", label="post-processing")
        upper.plot(values, work, "k--", label="as the multiply-adds")
        lower.plot(values, [row["model_mib"] for row in series], "o-", label="model")
        lower.plot(values, [row["post_processing_mib"] for row in series], "s-", label="post-processing")
        upper.set(title=name, ylabel="seconds for an image" if column == 0 else None, ylim=(0, None))
        lower.set(ylabel="peak memory of the process, MiB" if column == 0 else None, ylim=(0, None))
        for axis in (upper, lower):
            axis.set_xticks(values)
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(path, dpi=100)
