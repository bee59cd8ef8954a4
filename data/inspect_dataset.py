"""Checks every record of a config and shows what the model will see; run it before training.

    python data/inspect_dataset.py --config_file=F --output_dir=D

writes D/report.md with unusable records, suspicious findings, statistics and classes, and the pictures D/contact_sheet.png
(training images after augmentation, with labels; more pages are D/contact_sheet_2.png, ...), D/contact_sheet_eval.png (the same
for evaluation) and D/class_frequencies.png. The exit code is 1 if a record cannot be used.
"""

import pathlib
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags
from PIL import Image

from data.inspection import model_view, notes, report
from data.inspection.input_sizes import InputSizes, input_sizes
from data.inspection.scan import Section, open_section, scan
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from protos import experiment_pb2
from protos.config import load_config
from protos.descriptions import ConfigError, load
from protos.errors import UserError

SECTIONS = ("train", "eval")
SHEETS = {
    "train": ("Training images after augmentation", "contact_sheet{}.png"),
    "eval": ("Evaluation images", "contact_sheet_eval{}.png"),
}
_CHART, _REPORT, _PROBLEMS = "class_frequencies.png", "report.md", "problems.txt"


def inspect(
    config: experiment_pb2.ExperimentOptions,
    output_dir: pathlib.Path,
    *,
    source: str,
    sections: Sequence[str] = SECTIONS,
    max_records: int | None = None,
    num_samples: int = 12,
    seed: int = 0,
) -> report.Findings:
    """Inspects those of `sections` that the config has, writes the report and pictures, and returns the findings.

    `source` is the config's file, for the report. Of each section, `max_records` evenly spaced records are checked, or all;
    `num_samples` is the number of images on the contact sheets, and `seed` that of the augmentation.

    Raises:
      ConfigError: the config has none of the sections, or an invalid option.
      DataError: a section has no records.
      UserError: the output folder contains files of the same names that are not from an inspection.
    """
    wanted = {name: f"{name}_dataset_options" for name in sections}
    found = {name: getattr(config, field) for name, field in wanted.items() if config.HasField(field)}
    if not found:
        raise ConfigError(f"{source} has no {' or '.join(wanted.values())}: nothing to inspect")
    opened = [open_section(name, options, load(options.dataset)) for name, options in found.items()]
    _replace_earlier_report(output_dir, config.experiment_name)
    # Pictures first, so that they can be viewed while all records are being read.
    views = [model_view.view_section(section, num_samples=num_samples, seed=seed) for section in opened]
    pictures = []
    for section, view in zip(opened, views):
        for number, page in enumerate(model_view.contact_sheets(view.samples, section.info), 1):
            title, name = SHEETS[section.name]
            pictures.append((title, name.format("" if number == 1 else f"_{number}")))
            Image.fromarray(page).save(output_dir / pictures[-1][1])
    for section in opened:
        scan(section, max_records)
    labeled = [section for section in opened if section.counts.labeled]
    if labeled:
        report.save_frequencies(labeled, output_dir / _CHART)
        pictures.append(("Classes", _CHART))
    sizes = [input_sizes(section, config.evaluator_options) if section.counts.images else None for section in opened]
    noted = _notes(config, opened, views, sizes)
    findings = report.Findings(config.experiment_name, source, opened, views, sizes, noted, pictures)
    if findings.problems:
        (output_dir / _PROBLEMS).write_text("\n".join(findings.problems) + "\n", encoding="utf-8")
    (output_dir / _REPORT).write_text(report.report_text(findings), encoding="utf-8")
    return findings


def _notes(
    config: experiment_pb2.ExperimentOptions,
    sections: Sequence[Section],
    views: Sequence[model_view.ModelView],
    sizes: Sequence[InputSizes | None],
) -> list[str]:
    noted = []
    if len(sections) == 2:
        noted += notes.split_notes(*sections)
        if all(sizes):
            jitter = config.train_dataset_options.augmentations
            noted += notes.scale_note(*sizes, jitter.min_scale_factor, jitter.max_scale_factor)
    slots = config.model_options.max_deeplab.num_mask_slots
    for section, view, of_section in zip(sections, views, sizes):
        noted += notes.section_notes(section, view, slots, of_section)
    return noted + [*notes.color_notes(sections[0].info)]


def _replace_earlier_report(output_dir: pathlib.Path, experiment: str) -> None:
    """Removes the files of an earlier inspection, identified by its report, and starts the new report."""
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / _REPORT
    ours = path.is_file() and path.read_bytes().startswith(report.HEADING.encode())
    existing = [name for name in (_CHART, _REPORT, _PROBLEMS) if (output_dir / name).exists()]
    existing += [path.name for _, name in SHEETS.values() for path in output_dir.glob(name.format(""))]
    existing += [path.name for _, name in SHEETS.values() for path in output_dir.glob(name.format("_[0-9]*"))]
    if existing and not ours:
        raise UserError(
            f"--output_dir={output_dir} contains {existing[0]}, which is not from an earlier inspection and would be replaced: "
            "choose another folder"
        )
    for name in existing:
        (output_dir / name).unlink()
    path.write_text(f"{report.HEADING}{experiment}\n\nNot finished.\n", encoding="utf-8")


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
    flags.DEFINE_integer("num_samples", 12, "Number of images on the contact sheets of a section.", lower_bound=1)
    flags.DEFINE_integer(
        "seed", None, "Seed of the augmentation. Default: trainer_options.seed.", lower_bound=0, upper_bound=2**31 - 1
    )
    run_command(_main, interrupted="interrupted: no report was written")
