"""Flags of the converters that accept predictions as labels (pseudo-labels): which segments to keep."""

import math
import pathlib
from collections.abc import Sequence

from absl import flags

from data.conversion.image_lists import SourceImage
from data.conversion.segment_filter import SegmentFilter
from data.records.schema import DataError

_MIN_SCORE = flags.DEFINE_float(
    "min_score",
    None,
    "Segments with a lower `score` in the annotation file become unlabeled; trainer/predict.py writes scores.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_MIN_AREA = flags.DEFINE_integer("min_area", 0, "Segments with fewer pixels become unlabeled.", lower_bound=0)


def segment_filter(sources: Sequence[SourceImage], annotations: pathlib.Path | None) -> SegmentFilter:
    """The filter that the flags define, for the images of an annotation file.

    Raises:
      DataError: the limit is not a number, the images have no labels to filter, or a segment has no score.
    """
    chosen = SegmentFilter(_MIN_SCORE.value, _MIN_AREA.value)
    if chosen.min_score is not None and math.isnan(chosen.min_score):
        raise DataError("--min_score is nan: use a number in [0, 1]")
    if not chosen.active:
        return chosen
    if annotations is None:
        raise DataError(f"{chosen} requires labels, but these images have none: omit it")
    for source in sources if chosen.min_score is not None else ():
        without = [segment for segment in source.segments if "score" not in segment]
        if without:
            raise DataError(
                f"{annotations}: segment {without[0].get('id')} of image {source.name} has no score, but --min_score requires "
                "scores: use predictions of trainer/predict.py, which writes them, or omit --min_score"
            )
    return chosen
