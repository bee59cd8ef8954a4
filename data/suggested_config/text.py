"""The text of a config, with the reason for each value in a comment."""

import json
import pathlib
import string

from data.suggested_config.choices import Choices
from data.suggested_config.facts import DataFacts
from kmax_tf.checkpoints.convnext_weights import SUFFIXES

# Below this number of steps, moving statistics with the default momentum do not converge.
_FEW_STEPS = 2000

_CONFIG = string.Template("""\
# Trains kMaX-DeepLab on $name; written by data/build_panoptic.py for $device, --size=$size.
#
# Data:     $images images to train on, $val_images to evaluate on; median $median pixels (width x height).
# Command:  python trainer/train.py --config_file=$file$gpu_flag
#
# Change what you like: the conversion does not replace an edited file. docs/own_dataset.md explains the steps, protos/*.proto
# every field.

experiment_name: $quoted_name

model_options {
  # A trained kMaX-DeepLab, such as one of COCO, or its encoder alone: docs/weights.md lists public ones. Empty: random values,
  # which need far more images and steps.
  initial_checkpoint: $checkpoint
  # Heads for other classes keep their initial values and are listed.
  restore { skip_mismatched: true }
  backbone {
    name: "$encoder"
    # A ConvNeXt encoder trained on ImageNet (.safetensors, .h5, .keras).
    pretrained_weights: $pretrained
  }
$layers  max_deeplab {
    # At least the segments of the fullest image, $most_segments$twice.$centers
    num_mask_slots: $num_mask_slots
$transformer  }
}

trainer_options {
  save_checkpoints_steps: $eval_interval
  save_summaries_steps: $steps_per_loop
  steps_per_loop: $steps_per_loop
  # Splits each batch into this many parts to save memory; must divide batch_size. $parts_reason
  accumulate_steps: $accumulate_steps
  loss_options {
    semantic_loss { weight: 1.0 }
    pq_style_loss { weight: 3.0 }
    mask_id_cross_entropy_loss { weight: 0.3 }
    instance_discrimination_loss { weight: 1.0 }
  }
  solver_options {
    optimizer: "adamw"
    adamw_weight_decay: 0.05
    # For batches of $batch_size, starting from $start; scale it with the batch size.
    # $other_rate
    base_learning_rate: $learning_rate
    # An encoder that is trained already changes slowly.
    backbone_learning_rate_multiplier: $encoder_rate
    # $warmup_share of the steps.
    warmup_steps: $warmup_steps
    # $epochs times through the images; $steps_reason.
    training_number_of_steps: $steps
    use_gradient_clipping: true
    clip_gradient_norm: 10
$momentum  }
}

train_dataset_options {
  dataset: $dataset
  file_pattern: $train
  # At most the number of images; 8 if memory and time allow.
  batch_size: $batch_size
$input
  augmentations {
$augmentations  }
}

eval_dataset_options {
  dataset: $dataset
  file_pattern: $val
  batch_size: 1
$input
}

evaluator_options {
  # Ten evaluations in a training run.
  eval_interval: $eval_interval
  save_predictions: true
  # Smaller predictions become void, in pixels of the input: COCO's limits at this size, or what 99 % of the segments reach.
  thing_area_limit: $thing_area_limit
  stuff_area_limit: $stuff_area_limit
  transformer_post_processing: "maskwise"
  maskwise_postprocessing {
    transformer_class_confidence_threshold_thing: 0.7
    transformer_class_confidence_threshold_stuff: 0.5
    overlapping_threshold: 0.8
    reorder_mask_weight: 1.0
  }
}
""")

_INPUT = string.Template("""\
  # Height and width, each 32k+1: $shape; $padding stay empty on average.
  crop_size: [$height, $width]
  # Images are scaled to fit, in training as in evaluation.
  min_resize_value: [$height, $width]
  max_resize_value: [$height, $width]
  # At least the things of the fullest image, $most_things$twice.
  max_thing_id: $max_thing_id""")

_MOMENTUM = """\
    # The moving statistics must converge within few steps.
    batchnorm_momentum: 0.95
"""

_SMALL_LAYERS = """\
  # Narrow layers, which two CPU cores train within minutes; --size=base has those of the published model.
  decoder { decoder_channels: 64 aspp_channels: 64 }
  pixel_decoder { channels: [64, 48, 32, 32] num_blocks: [1, 1, 1, 1] }
"""
_SMALL_TRANSFORMER = """\
    auxiliary_semantic_head { head_channels: 64 }
    decoder_channels: 128
    ffn_channels: 256
    instance_discrimination_sample_k: 512
    instance_discrimination_sample_temperature: 1.5
    transformer_decoder_drop_path_keep_prob: 1.0
"""
_TRANSFORMER = """\
    instance_discrimination_sample_k: 4096
    instance_discrimination_sample_temperature: 1.5
    transformer_decoder_drop_path_keep_prob: 0.8
"""
_SMALL_AUGMENTATIONS = """\
    # Mild, for a short training run.
    min_scale_factor: 0.8
    max_scale_factor: 1.2
    scale_factor_step_size: 0.1
"""
_AUGMENTATIONS = """\
    min_scale_factor: 0.5
    max_scale_factor: 1.5
    scale_factor_step_size: 0.1
    autoaugment_policy_name: "simple_classification_policy"
    # Segments of a second image, at half its scale; they double the numbers of things and segments.
    panoptic_copy_paste {
      panoptic_copy_paste_scale: 0.5
      panoptic_copy_paste_thing_option: "all"
      panoptic_copy_paste_stuff_option: "random"
      panoptic_copy_paste_void_option: "none"
    }
"""


def config_text(path: pathlib.Path, name: str, choices: Choices, facts: DataFacts, weights: str = "") -> str:
    """A complete config in text format.

    Args:
      path: the file that it is for, in the folder of the records and of the description `<name>.textproto`.
      name: that of the dataset, for experiment_name.
      choices: the values.
      facts: the data that they come from.
      weights: a checkpoint or weight file to start from; empty: none.
    """
    height, width = facts.median_size
    common = vars(choices) | {"twice": ", twice for pasting" if choices.model.pastes else ""}
    return _CONFIG.substitute(
        common | _model_values(choices, weights) | _solver_values(choices, facts, weights),
        name=name,
        file=path,
        quoted_name=_quoted(name),
        dataset=_quoted(f"{name}.textproto"),
        # Unlike `train-*`, this does not match a split `train-extra`.
        train=_quoted(f"{path.parent.resolve()}/train-?????-of-?????.tfrecord"),
        val=_quoted(f"{path.parent.resolve()}/val-?????-of-?????.tfrecord"),
        device="a GPU" if choices.on_gpu else "a CPU",
        gpu_flag=" --num_gpus=1" if choices.on_gpu else "",
        images=facts.images,
        val_images=facts.val_images or "none yet",
        median=f"{width}x{height}",
        most_segments=facts.most_segments,
        input=_input(common, facts),
        augmentations=_AUGMENTATIONS if choices.model.pastes else _SMALL_AUGMENTATIONS,
    )


def _model_values(choices: Choices, weights: str) -> dict[str, object]:
    is_small, is_file = choices.size == "small", weights.endswith(SUFFIXES)
    return {
        "encoder": choices.model.encoder,
        "checkpoint": _quoted("" if is_file else weights),
        "pretrained": _quoted(weights if is_file else ""),
        "layers": _SMALL_LAYERS if is_small else "",
        "transformer": _SMALL_TRANSFORMER if is_small else _TRANSFORMER,
        "centers": "" if is_small else " With a value other than 128, COCO's\n    # cluster centers are not loaded.",
    }


def _solver_values(choices: Choices, facts: DataFacts, weights: str) -> dict[str, object]:
    fine_rate, rate = (value * choices.rate_factor for value in (choices.model.fine_rate, choices.model.rate))
    other = f"From an encoder alone or random values: {rate:g}."
    if not choices.fine_tunes:
        other = f"From a trained kMaX-DeepLab: {fine_rate:g}."
    reason = "more steps give better masks"
    if choices.on_gpu:
        reason = "50 times are a good start"
    elif choices.size == "small":
        reason = "about 20 minutes of CPU time; with 5000, masks are better"
    return {
        "parts_reason": "Estimated from the memory of the GPU." if choices.on_gpu else "Double it if memory runs out.",
        "start": "a trained kMaX-DeepLab" if choices.fine_tunes else "a trained encoder" if weights else "random values",
        "other_rate": other,
        "learning_rate": f"{choices.learning_rate:g}",
        "encoder_rate": 1.0 if choices.size == "small" and not weights else 0.1,
        "warmup_share": f"{choices.warmup_steps / choices.steps:.0%}",
        "epochs": f"{choices.steps * choices.batch_size / facts.images:.0f}",
        "steps_reason": reason,
        "momentum": _MOMENTUM if choices.steps < _FEW_STEPS else "",
    }


def _input(values: dict[str, object], facts: DataFacts) -> str:
    height, width = values["crop"]
    shape = "square, because some images are upright and others wide" if facts.is_mixed else "shaped like the images"
    padding = f"{facts.padding(values['crop']):.0%}"
    return _INPUT.substitute(values, shape=shape, padding=padding, height=height, width=width, most_things=facts.most_things)


def _quoted(text: str) -> str:
    """A string of the text format."""
    return json.dumps(text, ensure_ascii=False)
