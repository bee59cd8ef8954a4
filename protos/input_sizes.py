"""Sizes of network inputs: sides of 32k+1 pixels, which align the corners of all features."""

from collections.abc import Sequence

SIZE_STEP = 32


def is_input_side(side: int) -> bool:
    """Whether a side in pixels is 33, 65, 97, ...."""
    return side > SIZE_STEP and side % SIZE_STEP == 1


def nearest_sides(side: int) -> tuple[int, ...]:
    """The next lower and the next higher valid side; only the side itself if it is valid."""
    lower = max((side - 1) // SIZE_STEP, 1) * SIZE_STEP + 1
    return (lower,) if side <= lower else (lower, lower + SIZE_STEP)


def nearest_size(height: int, width: int) -> str:
    """A phrase with the valid sizes nearest to a size in pixels."""
    sides = (" or ".join(map(str, nearest_sides(side))) for side in (height, width))
    return "the nearest are {} for the height and {} for the width".format(*sides)


def next_size(size: Sequence[int]) -> tuple[int, int]:
    """The smallest valid height and width that an image of this size (pixels) fits into."""
    height, width = (max(-(-(side - 1) // SIZE_STEP), 1) * SIZE_STEP + 1 for side in size)
    return height, width


def per_side(values: Sequence[int]) -> tuple[int, int]:
    """Height and width from the one or two values of a resize field; (0, 0) if it is unset or either value is 0."""
    return (values[0], values[-1]) if values and all(values) else (0, 0)
