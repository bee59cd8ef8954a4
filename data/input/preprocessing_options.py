"""The preprocessing of training images, derived from the options of a dataset in a resolved config."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.input import autoaugment
from kmax_tf.prediction.placement import InputSize
from protos import dataset_pb2


@dataclasses.dataclass(frozen=True)
class ScaleJitter:
    """Random scale factors: one of `values`, or any number in [lowest, highest] if `values` is empty."""

    lowest: float
    highest: float
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of the training images of one dataset; `policy` None: no color augmentation."""

    size: InputSize
    jitter: ScaleJitter
    paste_jitter: ScaleJitter | None
    policy: autoaugment.Policy | None
    flip_probability: float


def preprocessing(options: dataset_pb2.DatasetOptions) -> Preprocessing:
    """The preprocessing for training of a dataset whose options kmax_tf.load_config has validated."""
    augmentations, quirks = options.augmentations, options.reference_quirks
    paste_scale = augmentations.panoptic_copy_paste.panoptic_copy_paste_scale
    policy = augmentations.autoaugment_policy_name
    return Preprocessing(
        size=InputSize.from_options(options, fits=False),
        jitter=_scale_jitter(augmentations, 1.0, quirks),
        paste_jitter=_scale_jitter(augmentations, paste_scale, quirks) if paste_scale > 0 else None,
        policy=autoaugment.named_policy(policy, reference_quirks=quirks) if policy else None,
        flip_probability=augmentations.flip_probability,
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
