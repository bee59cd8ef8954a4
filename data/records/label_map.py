"""Panoptic maps as the few ids that an image has, and which of them each pixel has."""

import dataclasses

import numpy as np

# Ids up to here and to the number of pixels are looked up in a table.
_SMALL_TABLE = 1 << 18


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """`ids` are distinct panoptic ids, int64 [k]; `index`, integers [h, w] of 0 .. k - 1, tells which one a pixel has.

    There may be ids that no pixel has.
    """

    ids: np.ndarray
    index: np.ndarray

    @property
    def panoptic(self) -> np.ndarray:
        """Panoptic id of each pixel, int32 [h, w]."""
        return self.ids.astype(np.int32).take(self.index)


def from_panoptic(panoptic: np.ndarray) -> LabelMap:
    """The label map of a panoptic map, integers [h, w] with at least one pixel; ids are ascending."""
    size = int(panoptic.max()) + 1
    if panoptic.min() < 0 or size > panoptic.size + _SMALL_TABLE:
        ids, index = np.unique(panoptic, return_inverse=True)
        return LabelMap(ids.astype(np.int64), index.reshape(panoptic.shape))
    # A search among booleans is fast.
    ids = np.flatnonzero(np.bincount(panoptic.ravel(), minlength=size) > 0)
    positions = np.zeros(size, np.int32)
    positions[ids] = np.arange(len(ids))
    return LabelMap(ids, positions.take(panoptic))
