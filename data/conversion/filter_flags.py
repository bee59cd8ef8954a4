"""Flags of the converters that take predictions as labels (pseudo-labels): which segments are sure and large enough."""

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
    "Segments whose `score` in the annotation file is lower become pixels without a label; trainer/predict.py writes scores.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_MIN_AREA = flags.DEFINE_integer("min_area", 0, "Segments with fewer pixels become pixels without a label.", lower_bound=0)


def segment_filter(sources: Sequence[SourceImage], annotations: pathlib.Path | None) -> SegmentFilter:
    """The filter of the flags, for images of an annotation file.

    Raises:
      DataError: the limit is no number, it would filter images without annotations, or a segment has no score.
    """
    chosen = SegmentFilter(_MIN_SCORE.value, _MIN_AREA.value)
    if chosen.min_score is not None and math.isnan(chosen.min_score):
        raise DataError("--min_score is nan: give a number in [0, 1]")
    if not chosen.active:
        return chosen
    if annotations is None:
        raise DataError(f"{chosen} needs labels, but these images have none: leave it out")
    for source in sources if chosen.min_score is not None else ():
        without = [segment for segment in source.segments if "score" not in segment]
        if without:
            raise DataError(
                f"{annotations}: segment {without[0].get('id')} of image {source.name} has no score, which --min_score needs: "
                "take predictions of trainer/predict.py, which writes scores, or leave --min_score out"
            )
    return chosen
