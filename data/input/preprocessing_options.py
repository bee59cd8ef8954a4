"""Checks the preprocessing options of a dataset and fills in their defaults."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.input import autoaugment, copy_paste
from protos import dataset_pb2
from protos.descriptions import ConfigError


@dataclasses.dataclass(frozen=True)
class ScaleJitter:
    """Random scale factors: one of `values`, or any number in [lowest, highest] if `values` is empty."""

    lowest: float
    highest: float
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of one dataset.

    Sizes are (height, width) in pixels; None: no limit. `size_factor` None: resized sides are not rounded. `policy` None: no
    color augmentation. `reference_quirks`: reproduce the bugs of the published code, see protos/dataset.proto.
    """

    crop: tuple[int, int]
    min_size: tuple[int, int] | None
    max_size: tuple[int, int] | None
    size_factor: int | None
    jitter: ScaleJitter
    paste_jitter: ScaleJitter | None
    policy: autoaugment.Policy | None
    flip_probability: float
    reference_quirks: bool


def preprocessing(options: dataset_pb2.DatasetOptions, *, is_training: bool) -> Preprocessing:
    """Reads the options of a dataset.

    Raises:
      ConfigError: a value is missing or impossible; the message names the field.
    """
    crop = _pair("crop_size", options.crop_size)
    if crop is None or min(crop) < 1:
        raise ConfigError(f"crop_size must be two positive numbers (height and width), not {list(options.crop_size)}")
    min_size = _pair("min_resize_value", options.min_resize_value)
    max_size = _pair("max_resize_value", options.max_resize_value)
    if max_size is None and not is_training:
        max_size = crop
    # As in DeepLab2, resize fields that are 0 set no limit, but sides are rounded to size_factor.
    resizes = bool(options.min_resize_value or options.max_resize_value) or not is_training
    if max_size and (max_size[0] > crop[0] or max_size[1] > crop[1]):
        raise ConfigError(
            f"max_resize_value {list(max_size)} is larger than crop_size {list(crop)}: resized images would be cropped"
        )
    augmentations = options.augmentations
    if not 0 <= augmentations.flip_probability <= 1:
        raise ConfigError(f"flip_probability must be in [0, 1], not {augmentations.flip_probability}")
    paste = augmentations.panoptic_copy_paste
    copy_paste.check_options(paste)
    policy = augmentations.autoaugment_policy_name
    return Preprocessing(
        crop=crop,
        min_size=min_size,
        max_size=max_size,
        size_factor=options.resize_factor or None if resizes else None,
        jitter=_scale_jitter(augmentations, 1.0, options.reference_quirks),
        paste_jitter=_scale_jitter(augmentations, paste.panoptic_copy_paste_scale, options.reference_quirks)
        if _pastes(augmentations)
        else None,
        policy=autoaugment.named_policy(policy, reference_quirks=options.reference_quirks) if policy else None,
        flip_probability=augmentations.flip_probability,
        reference_quirks=options.reference_quirks,
    )


def _pastes(augmentations: dataset_pb2.AugmentationOptions) -> bool:
    return augmentations.HasField("panoptic_copy_paste") and augmentations.panoptic_copy_paste.panoptic_copy_paste_scale > 0


def _pair(field: str, values: Sequence[int]) -> tuple[int, int] | None:
    """One value for both sides, or one for each; None if it is unset or 0 for either side."""
    if len(values) > 2 or any(v < 0 for v in values):
        raise ConfigError(f"{field} must be one or two non-negative numbers, not {list(values)}")
    if field == "crop_size" and len(values) == 1:
        raise ConfigError(f"crop_size must be two numbers (height and width), not {list(values)}")
    if not values or not all(values):
        return None
    return values[0], values[-1]


def _scale_jitter(augmentations: dataset_pb2.AugmentationOptions, factor: float, reference_quirks: bool) -> ScaleJitter:
    lowest, highest = augmentations.min_scale_factor, augmentations.max_scale_factor
    step = augmentations.scale_factor_step_size
    if not 0 < lowest <= highest:
        raise ConfigError(f"scale factors must satisfy 0 < min_scale_factor <= max_scale_factor, not {lowest} and {highest}")
    if step < 0:
        raise ConfigError(f"scale_factor_step_size must not be negative: {step}")
    lowest, highest = lowest * factor, highest * factor
    if step == 0 and lowest < highest:
        return ScaleJitter(lowest, highest, ())
    if lowest == highest:
        return ScaleJitter(lowest, highest, (lowest,))
    if reference_quirks:
        # The count is truncated and the range divided evenly: 0.5 to 2.0 by 0.1 (in float32) gives 15 factors with a distance
        # of 0.107 instead of 16 factors.
        count = int((highest - lowest) / step + 1)
        # In float32 like tf.linspace: the last bit decides whether some scaled sides are one pixel shorter.
        first, last = np.float32(lowest), np.float32(highest)
        step = (last - first) / np.float32(max(count - 1, 1))
        between = [first + step * np.float32(k) for k in range(1, count - 1)]
        return ScaleJitter(lowest, highest, tuple(map(float, [first, *between, last][:count])))
    # The tolerance compensates for decimal steps that float32 cannot represent exactly.
    count = int((highest - lowest) / step + 1e-4) + 1
    return ScaleJitter(lowest, highest, tuple((lowest + step * np.arange(count)).tolist()))
