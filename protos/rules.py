"""The allowed values of every config field, and the fields that are accepted but ignored.

The rule of a repeated field applies to each of its values. Checks that involve several fields are in protos/validation.py.
"""

import dataclasses
import math
import re
from collections.abc import Callable

from protos.errors import nearest

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


def in_range(low: float, high: float) -> Rule:
    return Rule(f"from {low} to {high}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Rule:
    return Rule(f"one of {', '.join(repr(choice) for choice in choices)}", lambda value: value in choices, choices)


def multiple_of(factor: int) -> Rule:
    return Rule(f"a positive multiple of {factor}", lambda value: value > 0 and value % factor == 0)


_AT_LEAST_0 = Rule("at least 0", lambda value: value >= 0)
_AT_LEAST_1 = Rule("at least 1", lambda value: value >= 1)
_ABOVE_0 = Rule("above 0", lambda value: value > 0)
_PROBABILITY = in_range(0, 1)
_KEEP_PROBABILITY = Rule("above 0 and at most 1", lambda value: 0 < value <= 1)
_BELOW_1 = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
_ALL_OR_AT_LEAST_0 = Rule("-1 or at least 0", lambda value: value >= -1)
_ALL_OR_AT_LEAST_1 = Rule("-1 or at least 1", lambda value: value == -1 or value >= 1)
_PASTE_OPTION = one_of("random", "none", "all")

RULES: dict[str, dict[str, Rule]] = {
    "DatasetOptions": {
        "batch_size": _AT_LEAST_1,
        "min_resize_value": _AT_LEAST_0,
        "max_resize_value": _AT_LEAST_0,
        "resize_factor": _AT_LEAST_0,
        "small_instance_threshold": _AT_LEAST_0,
        "small_instance_weight": _AT_LEAST_0,
        "max_thing_id": in_range(1, 2**16 - 1),
        "data_service": Rule("empty or an address grpc://host:port", re.compile(r"|grpc://.+:[0-9]+").fullmatch),
    },
    "RecordSource": {"weight": _ABOVE_0},
    "AugmentationOptions": {
        "min_scale_factor": _ABOVE_0,
        "max_scale_factor": _ABOVE_0,
        "scale_factor_step_size": _AT_LEAST_0,
        "autoaugment_policy_name": one_of(*AUTOAUGMENT_POLICIES),
        "flip_probability": _PROBABILITY,
    },
    "PanopticCopyPasteOptions": {
        "panoptic_copy_paste_scale": _AT_LEAST_0,
        "panoptic_copy_paste_thing_option": _PASTE_OPTION,
        "panoptic_copy_paste_stuff_option": _PASTE_OPTION,
        "panoptic_copy_paste_void_option": _PASTE_OPTION,
    },
    "EvaluatorOptions": {
        "eval_steps": _ALL_OR_AT_LEAST_1,
        "eval_interval": _AT_LEAST_1,
        "continuous_eval_timeout": _ALL_OR_AT_LEAST_0,
        "stuff_area_limit": _AT_LEAST_0,
        "thing_area_limit": _AT_LEAST_0,
        "num_vis_samples": _AT_LEAST_0,
        "transformer_class_confidence_threshold": _PROBABILITY,
        "pixel_confidence_threshold": _BELOW_1,
        "transformer_post_processing": one_of("pixelwise", "maskwise"),
    },
    "MaskwisePostProcessingOptions": {
        "transformer_class_confidence_threshold_thing": _PROBABILITY,
        "transformer_class_confidence_threshold_stuff": _PROBABILITY,
        "overlapping_threshold": _PROBABILITY,
        "reorder_class_weight": _AT_LEAST_0,
        "reorder_mask_weight": _AT_LEAST_0,
    },
    "BackboneOptions": {"name": one_of(*BACKBONES), "drop_path_keep_prob": _KEEP_PROBABILITY},
    "DecoderOptions": {"decoder_channels": _AT_LEAST_1, "aspp_channels": _AT_LEAST_1, "atrous_rates": _AT_LEAST_1},
    "LowLevelOptions": {"feature_key": one_of("res2", "res3"), "channels_project": _AT_LEAST_1},
    "HeadOptions": {"output_channels": _AT_LEAST_1, "head_channels": _AT_LEAST_1},
    "MaXDeepLabOptions": {
        "instance_discrimination_sample_k": _AT_LEAST_0,
        "instance_discrimination_sample_temperature": _AT_LEAST_0,
        "transformer_decoder_drop_path_keep_prob": _KEEP_PROBABILITY,
        "num_mask_slots": _AT_LEAST_1,
        "num_decoders": _AT_LEAST_0,
        "decoder_channels": multiple_of(16),
        "ffn_channels": _AT_LEAST_1,
        "num_dropped_mask_slots": _AT_LEAST_0,
    },
    "RelaxationOptions": {"num_relaxed_decoders": _AT_LEAST_1, "class_relaxation": _PROBABILITY},
    "PixelDecoderOptions": {"channels": multiple_of(8), "num_blocks": _AT_LEAST_1, "bottleneck_dilation": _AT_LEAST_1},
    "TrainerOptions": {
        "num_checkpoints_to_keep": _AT_LEAST_1,
        "save_checkpoints_steps": _AT_LEAST_1,
        "save_summaries_steps": _AT_LEAST_1,
        "steps_per_loop": _AT_LEAST_1,
        "seed": in_range(0, 2**31 - 1),
        "accumulate_steps": _AT_LEAST_1,
    },
    "SolverOptions": {
        "learning_policy": one_of("poly", "cosine"),
        "base_learning_rate": _AT_LEAST_0,
        "poly_learning_power": _AT_LEAST_0,
        "poly_end_learning_rate": _AT_LEAST_0,
        "warmup_steps": _AT_LEAST_0,
        "optimizer": one_of("adamw", "adam", "sgd"),
        "clip_gradient_norm": _ABOVE_0,
        "training_number_of_steps": _AT_LEAST_1,
        "batchnorm_momentum": _BELOW_1,
        "batchnorm_epsilon": _ABOVE_0,
        "backbone_learning_rate_multiplier": _AT_LEAST_0,
        "adamw_weight_decay": _AT_LEAST_0,
        "ema_decay": _BELOW_1,
    },
    "SingleLossOptions": {"weight": _AT_LEAST_0, "top_k_percent": _KEEP_PROBABILITY},
}

IGNORED: dict[str, tuple[str, ...]] = {
    "DatasetOptions": ("sigma", "use_two_frames", "thing_id_mask_annotations", "use_next_frame", "cameras_to_use"),
    "EvaluatorOptions": (
        *("use_tf_function", "add_flipped_images", "center_score_threshold", "nms_kernel", "keep_k_centers", "eval_scales"),
        *("convert_raw_to_eval_ids", "merge_semantic_and_instance_with_tf_op", "raw_panoptic_format"),
    ),
    "ModelOptions": ("restore_instance_last_layer_from_initial_checkpoint",),
    "BackboneOptions": (
        *("output_stride", "use_squeeze_and_excite", "drop_path_schedule", "stem_width_multiplier"),
        *("backbone_width_multiplier", "backbone_layer_multiplier", "use_sac_beyond_stride"),
    ),
    "DecoderOptions": ("feature_key", "decoder_conv_type", "aspp_use_only_1x1_proj_conv"),
    "HeadOptions": ("head_conv_type", "max_value_after_activation", "min_value_after_activation"),
    "MaXDeepLabOptions": ("semantic_sample_k", "semantic_sample_temperature"),
    "SolverOptions": ("weight_decay",),
    "LossOptions": ("center_loss", "regression_loss", "motion_loss", "next_regression_loss", "depth_loss"),
    "SingleLossOptions": ("name",),
}
# Values of ignored fields, besides the defaults, that match what the code does anyway and need no warning.
HARMLESS: dict[str, tuple[object, ...]] = {
    "DatasetOptions.thing_id_mask_annotations": (True,),
    "EvaluatorOptions.eval_scales": (1.0,),
    "BackboneOptions.drop_path_schedule": ("linear",),
    "DecoderOptions.feature_key": ("feature_semantic", "stage5"),
    "SingleLossOptions.name": ("softmax_cross_entropy",),
}
