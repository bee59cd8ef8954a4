"""The allowed values of every config field, and the fields that are accepted but ignored.

The rule of a repeated field applies to each of its values. Checks that involve several fields are in protos/validation.py.
"""

import dataclasses
import math
import re
from collections.abc import Callable

from protos.parsing import nearest

BACKBONES = (
    "kmax_resnet50",
    "kmax_axial_resnet50",
    *(f"kmax_convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")),
)
AUTOAUGMENT_POLICIES = ("", "simple_classification_policy", "simple_classification_policy_magnitude_scale_0.2")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition on one value, and the text that completes "must be ..."."""

    allowed: str
    accepts: Callable[[object], bool]
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """Describes what is wrong with the value, or returns None."""
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value} must be a finite number"
        if self.accepts(value):
            return None
        shown = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
        return f"{shown} must be {self.allowed}{nearest(str(value), self.choices)}"


def at_least(low: float) -> Rule:
    return Rule(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Rule:
    return Rule(f"above {low}", lambda value: value > low)


def in_range(low: float, high: float) -> Rule:
    return Rule(f"from {low} to {high}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Rule:
    return Rule(f"one of {', '.join(repr(choice) for choice in choices)}", lambda value: value in choices, choices)


def multiple_of(factor: int) -> Rule:
    return Rule(f"a positive multiple of {factor}", lambda value: value > 0 and value % factor == 0)


def all_or_at_least(low: int) -> Rule:
    return Rule(f"-1 or at least {low}", lambda value: value == -1 or value >= low)


_PROBABILITY = in_range(0, 1)
_KEEP_PROBABILITY = Rule("above 0 and at most 1", lambda value: 0 < value <= 1)
_BELOW_ONE = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
_PASTE_OPTION = one_of("random", "none", "all")

RULES: dict[str, dict[str, Rule]] = {
    "DatasetOptions": {
        "batch_size": at_least(1),
        "min_resize_value": at_least(0),
        "max_resize_value": at_least(0),
        "resize_factor": at_least(0),
        "small_instance_threshold": at_least(0),
        "small_instance_weight": at_least(0),
        "max_thing_id": at_least(1),
        "data_service": Rule("empty or an address grpc://host:port", re.compile(r"|grpc://.+:[0-9]+").fullmatch),
    },
    "RecordSource": {"weight": above(0)},
    "AugmentationOptions": {
        "min_scale_factor": above(0),
        "max_scale_factor": above(0),
        "scale_factor_step_size": at_least(0),
        "autoaugment_policy_name": one_of(*AUTOAUGMENT_POLICIES),
        "flip_probability": _PROBABILITY,
    },
    "PanopticCopyPasteOptions": {
        "panoptic_copy_paste_scale": at_least(0),
        "panoptic_copy_paste_thing_option": _PASTE_OPTION,
        "panoptic_copy_paste_stuff_option": _PASTE_OPTION,
        "panoptic_copy_paste_void_option": _PASTE_OPTION,
    },
    "EvaluatorOptions": {
        "eval_steps": all_or_at_least(1),
        "eval_interval": at_least(1),
        "continuous_eval_timeout": all_or_at_least(0),
        "stuff_area_limit": at_least(0),
        "thing_area_limit": at_least(0),
        "num_vis_samples": at_least(0),
        "transformer_class_confidence_threshold": _PROBABILITY,
        "pixel_confidence_threshold": _BELOW_ONE,
        "transformer_post_processing": one_of("pixelwise", "maskwise"),
    },
    "MaskwisePostProcessingOptions": {
        "transformer_class_confidence_threshold_thing": _PROBABILITY,
        "transformer_class_confidence_threshold_stuff": _PROBABILITY,
        "overlapping_threshold": _PROBABILITY,
        "reorder_class_weight": at_least(0),
        "reorder_mask_weight": at_least(0),
    },
    "BackboneOptions": {"name": one_of(*BACKBONES), "drop_path_keep_prob": _KEEP_PROBABILITY},
    "DecoderOptions": {"decoder_channels": at_least(1), "aspp_channels": at_least(1), "atrous_rates": at_least(1)},
    "LowLevelOptions": {"feature_key": one_of("res2", "res3"), "channels_project": at_least(1)},
    "HeadOptions": {"output_channels": at_least(1), "head_channels": at_least(1)},
    "MaXDeepLabOptions": {
        "instance_discrimination_sample_k": at_least(0),
        "instance_discrimination_sample_temperature": at_least(0),
        "transformer_decoder_drop_path_keep_prob": _KEEP_PROBABILITY,
        "num_mask_slots": at_least(1),
        "num_decoders": at_least(0),
        "decoder_channels": multiple_of(16),
        "ffn_channels": at_least(1),
        "num_dropped_mask_slots": at_least(0),
    },
    "PixelDecoderOptions": {"channels": multiple_of(8), "num_blocks": at_least(1), "bottleneck_dilation": at_least(1)},
    "TrainerOptions": {
        "num_checkpoints_to_keep": at_least(1),
        "save_checkpoints_steps": at_least(1),
        "save_summaries_steps": at_least(1),
        "steps_per_loop": at_least(1),
        "seed": in_range(0, 2**31 - 1),
        "accumulate_steps": at_least(1),
    },
    "SolverOptions": {
        "learning_policy": one_of("poly", "cosine"),
        "base_learning_rate": at_least(0),
        "poly_learning_power": at_least(0),
        "poly_end_learning_rate": at_least(0),
        "warmup_steps": at_least(0),
        "optimizer": one_of("adamw", "adam", "sgd"),
        "clip_gradient_norm": above(0),
        "training_number_of_steps": at_least(1),
        "batchnorm_momentum": _BELOW_ONE,
        "batchnorm_epsilon": above(0),
        "backbone_learning_rate_multiplier": at_least(0),
        "adamw_weight_decay": at_least(0),
    },
    "SingleLossOptions": {"weight": at_least(0), "top_k_percent": _KEEP_PROBABILITY},
}

# Ignored fields, and the values besides the default that match what the code does anyway and need no warning.
IGNORED: dict[str, dict[str, tuple[object, ...]]] = {
    "DatasetOptions": {
        "sigma": (),
        "use_two_frames": (),
        "thing_id_mask_annotations": (True,),
        "use_next_frame": (),
        "cameras_to_use": (),
    },
    "EvaluatorOptions": {
        "use_tf_function": (),
        "add_flipped_images": (),
        "center_score_threshold": (),
        "nms_kernel": (),
        "keep_k_centers": (),
        "eval_scales": (1.0,),
        "convert_raw_to_eval_ids": (),
        "merge_semantic_and_instance_with_tf_op": (),
        "raw_panoptic_format": (),
    },
    "ModelOptions": {"restore_instance_last_layer_from_initial_checkpoint": ()},
    "BackboneOptions": {
        "output_stride": (),
        "use_squeeze_and_excite": (),
        "drop_path_schedule": ("linear",),
        "stem_width_multiplier": (),
        "backbone_width_multiplier": (),
        "backbone_layer_multiplier": (),
        "use_sac_beyond_stride": (),
    },
    "DecoderOptions": {
        "feature_key": ("feature_semantic", "stage5"),
        "decoder_conv_type": (),
        "aspp_use_only_1x1_proj_conv": (),
    },
    "HeadOptions": {"head_conv_type": (), "max_value_after_activation": (), "min_value_after_activation": ()},
    "MaXDeepLabOptions": {"semantic_sample_k": (), "semantic_sample_temperature": ()},
    "SolverOptions": {"weight_decay": ()},
    "LossOptions": {
        "center_loss": (),
        "regression_loss": (),
        "motion_loss": (),
        "next_regression_loss": (),
        "depth_loss": (),
    },
    "SingleLossOptions": {"name": ("softmax_cross_entropy",)},
}
