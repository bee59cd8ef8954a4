"""Counts of what the records of a split contain, and of what was left out."""

import collections
import dataclasses


@dataclasses.dataclass
class LabelCounts:
    """Counts that are summed over images; the conversion log stores them under these names.

    `unlabelled` counts the pixels without a class; `label_bytes` is the size of the encoded labels. `dropped` counts segments
    below --min_score or --min_area, `left_out` the images without any other segment, which are not written. `without_segment`
    lists the images whose annotation is empty, `skipped` the message of each bad image.
    """

    images: int = 0
    crowds: int = 0
    pixels: int = 0
    unlabelled: int = 0
    label_bytes: int = 0
    dropped: int = 0
    left_out: int = 0
    segments: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    without_segment: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    @property
    def seen(self) -> int:
        """Number of images, whether they were written or not."""
        return self.images + self.left_out + len(self.skipped)

    def add(self, other: "LabelCounts") -> None:
        """Adds the counts of other images."""
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, collections.Counter):
                mine.update(theirs)
            else:
                setattr(self, field.name, mine + theirs)
