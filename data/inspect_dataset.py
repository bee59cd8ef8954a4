"""Checks every record of a config and shows what the model will see; run it before training.

    python data/inspect_dataset.py --config_file=F --output_dir=D

writes D/report.md with unusable records, suspicious findings, statistics and classes, and the pictures D/contact_sheet.png
(training images after augmentation, with labels), D/contact_sheet_eval.png (the same for evaluation) and
D/class_frequencies.png. The exit code is 1 if a record cannot be used.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from data.inspection import frequency_chart, model_view, notes, report
from data.inspection import scan as record_scan
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.drawing import pictures
from protos import experiment_pb2
from protos.config import load_config
from protos.descriptions import ConfigError, DatasetInfo, load
from protos.errors import UserError

SECTIONS = ("train", "eval")
SHEETS = {
    "train": ("Training images after augmentation", "contact_sheet.png"),
    "eval": ("Evaluation images", "contact_sheet_eval.png"),
}
_CHART, _REPORT, _PROBLEMS = "class_frequencies.png", "report.md", "problems.txt"
# Longest side of a picture on the sheet, height of a caption line, and period of the stripes over void, in pixels.
PANEL, LINE, _STRIPES = 448, 18, 12
# Stripes on pixels below this gray level are light.
_DARK = 64


def inspect(
    config: experiment_pb2.ExperimentOptions,
    output_dir: pathlib.Path,
    *,
    source: str,
    sections: Sequence[str] = SECTIONS,
    max_records: int | None = None,
    num_samples: int = 16,
    seed: int = 0,
) -> report.Findings:
    """Inspects those of `sections` that the config has, writes the report and pictures, and returns the findings.

    Args:
      config: the experiment.
      output_dir: folder of the report; created if it does not exist.
      source: the config's file, for the report.
      sections: which of train and eval to inspect.
      max_records: how many records of each section to check, evenly spaced; None: all.
      num_samples: number of rows of a contact sheet.
      seed: seed of the augmentation.

    Raises:
      ConfigError: the config has none of the sections, or an invalid option.
      DataError: a section has no records.
      UserError: the output folder contains files of the same names that are not from an inspection.
    """
    opened = [_open(config, name) for name in sections if config.HasField(f"{name}_dataset_options")]
    if not opened:
        raise ConfigError(f"{source} has no {' or '.join(f'{name}_dataset_options' for name in sections)}: nothing to inspect")
    _replace_earlier_report(output_dir, config.experiment_name)
    # Pictures first, so that they can be viewed while all records are being read.
    views = [model_view.view_section(section, num_samples=num_samples, seed=seed) for section in opened]
    pictures = _draw_sheets(opened, views, output_dir)
    scans = [record_scan.scan(section, max_records) for section in opened]
    labeled = [scan for scan in scans if scan.counts.labeled_images]
    if labeled:
        frequency_chart.save_frequencies(labeled, output_dir / _CHART)
        pictures.append(("Classes", _CHART))
    findings = report.Findings(config.experiment_name, source, scans, views, _all_notes(config, scans, views), pictures)
    if findings.problems:
        (output_dir / _PROBLEMS).write_text("\n".join(findings.problems) + "\n", encoding="utf-8")
    (output_dir / _REPORT).write_text(report.report_text(findings), encoding="utf-8")
    return findings


def _replace_earlier_report(output_dir: pathlib.Path, experiment: str) -> None:
    """Removes the files of an earlier inspection, identified by its report, and starts the new report."""
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / _REPORT
    ours = path.is_file() and path.read_bytes().startswith(report.HEADING.encode())
    names = (*(name for _, name in SHEETS.values()), _CHART, _REPORT, _PROBLEMS)
    existing = [name for name in names if (output_dir / name).exists()]
    if existing and not ours:
        raise UserError(
            f"--output_dir={output_dir} contains {existing[0]}, which is not from an earlier inspection and would be replaced: "
            "choose another folder"
        )
    for name in existing:
        (output_dir / name).unlink()
    path.write_text(f"{report.HEADING}{experiment}\n\nNot finished.\n", encoding="utf-8")


def _open(config: experiment_pb2.ExperimentOptions, name: str) -> record_scan.Section:
    options = getattr(config, f"{name}_dataset_options")
    return record_scan.open_section(name, options, load(options.dataset))


def _draw_sheets(
    sections: Sequence[record_scan.Section], views: Sequence[model_view.ModelView], output_dir: pathlib.Path
) -> list[tuple[str, str]]:
    """Draws a sheet for each section with usable records; returns their titles and file names."""
    drawn = []
    for section, view in zip(sections, views, strict=True):
        if view.samples:
            drawn.append(SHEETS[section.name])
            Image.fromarray(contact_sheet(view.samples, section.info)).save(output_dir / drawn[-1][1])
    return drawn


def _all_notes(
    config: experiment_pb2.ExperimentOptions, scans: Sequence[record_scan.Scan], views: Sequence[model_view.ModelView]
) -> list[str]:
    slots = config.model_options.max_deeplab.num_mask_slots
    found = [note for scan, view in zip(scans, views, strict=True) for note in notes.section_notes(scan, view, slots)]
    return [*notes.split_notes(*scans), *found] if len(scans) == 2 else found


def contact_sheet(samples: Sequence[model_view.Sample], info: DatasetInfo) -> np.ndarray:
    """One row per sample: image with caption, labels over the image with void striped, and legend; uint8 [H, W, 3].

    Each picture is scaled to a longest side of PANEL pixels.
    """
    return pictures.contact_sheet([_row(sample, info) for sample in samples], ("input", "labels", "classes"))


def _row(sample: model_view.Sample, info: DatasetInfo) -> list[np.ndarray]:
    height, width = sample.image.shape[:2]
    size = tuple(max(1, round(side * PANEL / max(height, width))) for side in (width, height))
    image = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR))
    caption = _caption(sample.caption, size[0])
    panels = [np.concatenate([caption, image])]
    if sample.panoptic is not None:
        panoptic = np.asarray(Image.fromarray(sample.panoptic.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        overlay = pictures.overlay_panoptic(_striped(image, panoptic, info), panoptic, info)
        panels.append(np.concatenate([np.full_like(caption, 255), overlay]))
        panels.append(pictures.legend(panoptic, info, size=LINE * 2 // 3))
    return panels


def _striped(image: np.ndarray, panoptic: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Draws dark stripes over void, and light ones where the image is dark."""
    rows, columns = np.indices(panoptic.shape)
    striped = (panoptic == info.void_label) & ((rows + columns) % _STRIPES < _STRIPES // 2)
    is_dark = image.max(-1, keepdims=True) < _DARK
    return np.where(striped[..., None], np.where(is_dark, 255 - (255 - image) // 3 * 2, image // 3), image)


def _caption(lines: Sequence[str], width: int) -> np.ndarray:
    canvas = Image.new("RGB", (width, LINE * len(lines) + LINE // 3), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((2, LINE * number + LINE // 3), line, (32, 32, 32), ImageFont.load_default(LINE * 2 // 3))
    return np.asarray(canvas)


def _main() -> int:
    values = flags.FLAGS
    config = load_config(values.config_file, values.override)
    output_dir = pathlib.Path(values.output_dir)
    findings = inspect(
        config,
        output_dir,
        source=values.config_file,
        sections=SECTIONS if values.section == "both" else (values.section,),
        max_records=values.max_records,
        num_samples=values.num_samples,
        seed=config.trainer_options.seed if values.seed is None else values.seed,
    )
    files = [_REPORT, *(name for _, name in findings.pictures)]
    print(f"{report.summary_text(findings)}; see {', '.join(str(output_dir / name) for name in files)}")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    define_config_flags()
    define_path("output_dir", "Folder of the report; created if it does not exist.", required=True)
    flags.DEFINE_enum("section", "both", [*SECTIONS, "both"], "Which dataset options to inspect; both: those that are set.")
    flags.DEFINE_integer("max_records", None, "Records to check per section, evenly spaced. Default: all.", lower_bound=1)
    flags.DEFINE_integer("num_samples", 16, "Number of rows of a contact sheet.", lower_bound=1)
    flags.DEFINE_integer("seed", None, "Seed of the augmentation. Default: trainer_options.seed.", lower_bound=0)
    run_command(_main, interrupted="interrupted: no report was written")
