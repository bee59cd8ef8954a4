"""The preprocessing of a dataset, derived from its options in a resolved config."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.input import autoaugment
from protos import dataset_pb2
from protos.validation import per_side


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
    """The preprocessing of a dataset whose options kmax_tf.load_config has validated."""
    crop, smallest, largest = (options.crop_size[0], options.crop_size[1]), options.min_resize_value, options.max_resize_value
    max_size = per_side(largest)
    if not any(max_size) and not is_training:
        max_size = crop
    # As in DeepLab2, resize fields that are 0 set no limit, but sides are rounded to size_factor.
    resizes = bool(smallest or largest) or not is_training
    augmentations, quirks = options.augmentations, options.reference_quirks
    paste_scale = augmentations.panoptic_copy_paste.panoptic_copy_paste_scale
    policy = augmentations.autoaugment_policy_name
    return Preprocessing(
        crop=crop,
        min_size=per_side(smallest) if any(per_side(smallest)) else None,
        max_size=max_size if any(max_size) else None,
        size_factor=options.resize_factor or None if resizes else None,
        jitter=_scale_jitter(augmentations, 1.0, quirks),
        paste_jitter=_scale_jitter(augmentations, paste_scale, quirks) if paste_scale > 0 else None,
        policy=autoaugment.named_policy(policy, reference_quirks=quirks) if policy else None,
        flip_probability=augmentations.flip_probability,
        reference_quirks=quirks,
    )


def _scale_jitter(augmentations: dataset_pb2.AugmentationOptions, factor: float, reference_quirks: bool) -> ScaleJitter:
    lowest, highest = augmentations.min_scale_factor * factor, augmentations.max_scale_factor * factor
    step = augmentations.scale_factor_step_size
    if step == 0 and lowest < highest:
        return ScaleJitter(lowest, highest, ())
    if lowest == highest:
        return ScaleJitter(lowest, highest, (lowest,))
    if reference_quirks:
        # The count is truncated and the range divided evenly: 0.5 to 2.0 by 0.1 (in float32) gives 15 factors with a distance
        # of 0.107 instead of 16 factors.
        count = int((highest - lowest) / step + 1)
        # In float32, on any machine: the last bit decides whether some scaled sides are one pixel shorter.
        with tf.device("CPU"):
            values = tf.linspace(np.float32(lowest), np.float32(highest), count)
        return ScaleJitter(lowest, highest, tuple(values.numpy().tolist()))
    # The tolerance compensates for decimal steps that float32 cannot represent exactly.
    count = int((highest - lowest) / step + 1e-4) + 1
    return ScaleJitter(lowest, highest, tuple((lowest + step * np.arange(count)).tolist()))
