"""Panoptic maps, stored as the distinct ids of an image and an index per pixel."""

import dataclasses

import numpy as np

# Ids up to the number of pixels plus this limit are looked up in a table.
_SMALL_TABLE = 1 << 18


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """`ids` are distinct panoptic ids, int64 [k]; `index` [h, w] contains integers 0 .. k - 1, the position of a pixel's id.

    Some ids may belong to no pixel.
    """

    ids: np.ndarray
    index: np.ndarray

    @property
    def panoptic(self) -> np.ndarray:
        """Panoptic id of each pixel, int32 [h, w]."""
        return self.ids.astype(np.int32).take(self.index)


def from_panoptic(panoptic: np.ndarray) -> LabelMap:
    """Creates a label map with ascending ids from a panoptic map, integers [h, w] with at least one pixel."""
    size = int(panoptic.max()) + 1
    if panoptic.min() < 0 or size > panoptic.size + _SMALL_TABLE:
        ids, index = np.unique(panoptic, return_inverse=True)
        return LabelMap(ids.astype(np.int64), index.reshape(panoptic.shape))
    # Searching booleans is fast.
    ids = np.flatnonzero(np.bincount(panoptic.ravel(), minlength=size) > 0)
    positions = np.zeros(size, np.int32)
    positions[ids] = np.arange(len(ids))
    return LabelMap(ids, positions.take(panoptic))
