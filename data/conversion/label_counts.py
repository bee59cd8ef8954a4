"""What the records of a split hold, and what was left out of them."""

import collections
import dataclasses


@dataclasses.dataclass
class LabelCounts:
    """Counts that add up over images.

    `pixels`, `unlabelled` (pixels without a class) are areas; `label_bytes` is the size of the coded labels; `dropped` counts
    segments below --min_score or --min_area, `left_out` the images without any other, which are not written.
    `without_segment` names the images whose annotation is empty, `skipped` has the message of each bad image.
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
        """Images, whether they were written or not."""
        return self.images + self.left_out + len(self.skipped)

    def add(self, other: "LabelCounts") -> None:
        """Adds what other images hold."""
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, collections.Counter):
                mine.update(theirs)
            else:
                setattr(self, field.name, mine + theirs)
