"""Flags that the converters share, and the conversion of a split with them."""

import functools
import math
import pathlib
import sys
from collections.abc import Callable, Collection, Sequence

from absl import flags

from data.conversion import conversion
from data.conversion.conversion_log import shard_files
from data.conversion.image_conversion import LabelCounts, Settings
from data.conversion.image_lists import SourceImage
from data.records.label_coding import LABEL_FORMATS
from data.records.schema import DataError
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_path
from kmax_tf.cli.progress import counted
from kmax_tf.coco_panoptic import names
from kmax_tf.files.lock import own_folder
from protos.descriptions import DatasetInfo

_NOT_IN_NAMES = "/\\\0\n*?[]{}"
_BYTES_PER_RAW_PIXEL = 4

OUTPUT_DIR = define_path("output_dir", "Folder of the TFRecords; created if it does not exist.", required=True)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", None, "Number of files per split. Default: one per 128 images.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Number of processes. Default: one per 1000 images, at most one per processor.", lower_bound=1
)
_LABEL_FORMAT = flags.DEFINE_enum(
    "label_format", "png", LABEL_FORMATS, "Encoding of labels: png is compressed, raw is what DeepLab2 writes."
)
_CROWD = flags.DEFINE_bool(
    "treat_crowd_as_ignore", True, "Whether crowds become unlabeled; otherwise they keep their class, with instance id 0."
)
_ON_BAD_EXAMPLE = flags.DEFINE_enum(
    "on_bad_example",
    "FAIL",
    ("FAIL", "SKIP"),
    "What to do with an image whose file or annotation cannot be used: end the conversion, or report, count and skip it. "
    "Errors in files that list the images always end the conversion.",
)


def define_limits() -> None:
    """Defines the flags of converters that accept predictions as labels (pseudo-labels): which segments to keep."""
    help_text = "Segments with a lower `score` in the annotation file become unlabeled; trainer/predict.py writes scores."
    flags.DEFINE_float("min_score", None, help_text, lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_integer("min_area", 0, "Segments with fewer pixels become unlabeled.", lower_bound=0)


def check_splits(splits: Sequence[str], known: Collection[str]) -> None:
    """Raises DataError if --splits is empty or a value of it is not `known`."""
    if not splits:
        raise DataError(f"--splits is empty: give one or more of {', '.join(known)}")
    for split in splits:
        if split not in known:
            raise DataError(f"--splits: {split!r} is not one of {', '.join(known)}")


def check_file_name(flag: flags.FlagHolder[str]) -> None:
    """Raises DataError if file names cannot start with the value of a flag, or it would be a pattern in a config."""
    found = sorted(set(flag.value or "") & set(_NOT_IN_NAMES))
    if found or flag.value in ("", ".", ".."):
        what = f"contains {', '.join(map(repr, found))}" if found else f"is {flag.value!r}"
        raise DataError(f"--{flag.name} {what}, but file names start with it: use a plain name")
    if not names.is_utf8(flag.value or ""):
        raise DataError(f"--{flag.name} is {names.shown(flag.value)}, which is not UTF-8: use a plain name")


def convert_split(
    sources: Sequence[SourceImage],
    split: str,
    info: DatasetInfo,
    *,
    official_images: int | None = None,
    annotations: pathlib.Path | None = None,
) -> None:
    """Converts one split according to the flags and prints a summary.

    Reports a number of images other than `official_images`; `annotations` is the file that lists the segments, for messages.
    """
    if official_images not in (None, len(sources)):
        found = counted(len(sources), "image")
        print(f"{split}: note: found {found}, but the official split has {official_images}", file=sys.stderr)
    limits = {name: flags.FLAGS[name].value for name in ("min_score", "min_area") if name in flags.FLAGS}
    settings = Settings(info, _LABEL_FORMAT.value, _CROWD.value, **limits)
    check_limits(settings, sources, annotations)
    output_dir = pathlib.Path(OUTPUT_DIR.value)
    counts = conversion.convert(
        sources,
        output_dir,
        split,
        settings,
        skip_bad=_ON_BAD_EXAMPLE.value == "SKIP",
        num_shards=_NUM_SHARDS.value,
        num_workers=_NUM_WORKERS.value,
    )
    print(summary(split, counts, output_dir, settings))


def check_limits(settings: Settings, sources: Sequence[SourceImage], annotations: pathlib.Path | None) -> None:
    """Raises DataError if a limit is not a number, the images have no labels to filter, or a segment lacks a score."""
    if settings.min_score is not None and math.isnan(settings.min_score):
        raise DataError("--min_score is nan: use a number in [0, 1]")
    if settings.limits and annotations is None:
        raise DataError(f"{settings.limits} requires labels, but these images have none: omit it")
    for source in sources if settings.min_score is not None else ():
        without = [segment for segment in source.segments if "score" not in segment]
        if without:
            raise DataError(
                f"{annotations}: segment {without[0].get('id')} of image {source.name} has no score, but --min_score requires "
                "scores: use predictions of trainer/predict.py, which writes them, or omit --min_score"
            )


def summary(split: str, counts: LabelCounts, output_dir: pathlib.Path, settings: Settings) -> str:
    """A few lines on the contents of a split: images, segments per class, crowds, unlabeled share, bytes, missing images."""
    size, info = sum(path.stat().st_size for path in shard_files(output_dir, split)), settings.info
    lines = [f"{split}: {counted(counts.images, 'image')}, {size / 1e6:.1f} MB in {output_dir}"]
    if counts.pixels:
        size, raw, share = counts.label_bytes, counts.pixels * _BYTES_PER_RAW_PIXEL, counts.unlabeled / counts.pixels
        lines += [
            f"  {counted(sum(counts.segments.values()), 'segment')}, {counted(counts.crowds, 'crowd')}, "
            f"{share:.2%} of the pixels are unlabeled",
            f"  labels take {size / 1e6:.2f} MB, {size / raw:.1%} of raw int32 ({raw / 1e6:.2f} MB)",
            *(f"  {counts.segments[c.id]:8d}  {c.name}" for c in info.classes if counts.segments[c.id]),
        ]
        absent = sum(not counts.segments[c.id] for c in info.classes)
        if absent:
            lines.append(f"  classes without any segment: {absent} of {info.num_classes}")
    if counts.without_segment:
        lines.append(f"  images without any segment: {len(counts.without_segment)}, first: {min(counts.without_segment)}")
    if counts.dropped:
        lines.append(f"  segments of these images that were dropped by {settings.limits}: {counts.dropped}")
    if counts.hidden:
        lines.append(f"  segments that others cover completely, which were left out: {counts.hidden}")
    if counts.left_out:
        lines.append(f"  images that were left out because they have {conversion.no_label(settings)}: {counts.left_out}")
    if counts.skipped:
        lines.append(f"  images that were skipped: {len(counts.skipped)}, first: {min(counts.skipped)}")
        lines.append("  after repairing them, run this again: it converts their shards again")
    return "\n".join(lines)


def run(main: Callable[[], None]) -> None:
    """Runs a converter while locking its output folder; see run_command."""

    @functools.wraps(main)
    def convert() -> None:
        with own_folder(pathlib.Path(OUTPUT_DIR.value)):
            main()

    run_command(convert, interrupted="interrupted: finished shards are kept; run the same command again to continue")
