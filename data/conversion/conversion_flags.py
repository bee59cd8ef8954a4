"""Flags that all converters share, and the conversion of a split with them."""

import functools
import pathlib
import sys
from collections.abc import Callable, Collection, Sequence

from absl import flags

from data.conversion import conversion
from data.conversion.conversion_summary import summary
from data.conversion.image_conversion import Settings
from data.conversion.image_lists import SourceImage
from data.conversion.segment_filter import SegmentFilter
from data.records.label_coding import LABEL_FORMATS
from data.records.schema import DataError
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_path
from kmax_tf.coco_panoptic import names
from kmax_tf.files.lock import own_folder
from protos.descriptions import DatasetInfo

_NOT_IN_NAMES = "/\\\0\n*?[]{}"

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


def check_splits(splits: Sequence[str], known: Collection[str]) -> None:
    """Raises DataError if a value of --splits is not `known`."""
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
    segment_filter: SegmentFilter | None = None,
) -> None:
    """Converts one split according to the flags and prints a summary; notes a number of images other than `official_images`."""
    if official_images not in (None, len(sources)):
        print(f"{split}: note: found {len(sources)} images, but the official split has {official_images}", file=sys.stderr)
    output_dir = pathlib.Path(OUTPUT_DIR.value)
    settings = Settings(info, _LABEL_FORMAT.value, _CROWD.value, segment_filter or SegmentFilter())
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


def run(main: Callable[[], None]) -> None:
    """Runs a converter while locking its output folder; see run_command."""

    @functools.wraps(main)
    def convert() -> None:
        with own_folder(pathlib.Path(OUTPUT_DIR.value)):
            main()

    run_command(convert, interrupted="interrupted: finished shards are kept; run the same command again to continue")
