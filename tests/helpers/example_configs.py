"""Configs for the tests of the model: the published models, and a small one that runs within a second, with inputs."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from protos import experiment_pb2
from protos.config import resolve_config
from protos.overrides import apply_overrides

_PUBLISHED = """
model_options {{
  backbone {{ name: "{backbone}" }}
  max_deeplab {{ instance_discrimination_sample_k: 4096 instance_discrimination_sample_temperature: 1.5 }}
}}
trainer_options {{
  loss_options {{
    semantic_loss {{ weight: 1.0 top_k_percent: {hardest} }}
    pq_style_loss {{ weight: 3.0 }}
    mask_id_cross_entropy_loss {{ weight: 0.3 }}
    instance_discrimination_loss {{ weight: 1.0 }}
  }}
  solver_options {{ }}
}}
train_dataset_options {{ dataset: "{dataset}_panoptic" crop_size: 129 crop_size: 193 }}
"""

_SMALL = """
model_options {
  backbone { name: "kmax_convnext_atto" }
  decoder { decoder_channels: 16 aspp_channels: 16 }
  pixel_decoder { channels: [8, 8, 8, 8] num_blocks: [1, 1, 1, 1] }
  max_deeplab {
    pixel_space_head { output_channels: 16 head_channels: 16 }
    auxiliary_semantic_head { head_channels: 16 }
    instance_discrimination_sample_k: 64
    instance_discrimination_sample_temperature: 1.5
    transformer_decoder_drop_path_keep_prob: 1.0
    num_mask_slots: 8
    num_decoders: [1, 0, 0]
    decoder_channels: 32
    ffn_channels: 32
  }
}
trainer_options {
  loss_options {
    semantic_loss { weight: 1.0 }
    pq_style_loss { weight: 3.0 }
    mask_id_cross_entropy_loss { weight: 0.3 }
    instance_discrimination_loss { weight: 1.0 }
  }
  solver_options { }
}
train_dataset_options { dataset: "scenes_panoptic" crop_size: 65 crop_size: 97 max_thing_id: 6 }
"""


def published_config(dataset: str, backbone: str, overrides: Sequence[str] = ()) -> experiment_pb2.ExperimentOptions:
    """The published model for "coco", "cityscapes" or "ade20k" with the encoder "kmax_...", no drop path by default."""
    hardest = 0.2 if dataset == "cityscapes" else 1.0
    no_drop = "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1.0"
    text = _PUBLISHED.format(dataset=dataset, backbone=backbone, hardest=hardest)
    return _config(text, [no_drop, *overrides])


def small_config(overrides: Sequence[str] = ()) -> experiment_pb2.ExperimentOptions:
    """A narrow model of 8 slots and one kMaX decoder, for images of 65x97 of the drawn scenes."""
    return _config(_SMALL, overrides)


def make_images(height: int = 65, width: int = 97) -> tf.Tensor:
    """Two noise images, uint8."""
    return tf.constant(np.random.default_rng(0).integers(0, 256, (2, height, width, 3)), tf.uint8)


def make_targets() -> dict[str, tf.Tensor]:
    """Ground truth of 65x97 for the small model, the same for both images: three things in front of two stuff regions."""
    semantic = np.where(np.arange(97) < 40, 4, 5) * np.ones((2, 65, 1), int)
    thing = np.full((2, 65, 97), -1)
    for number, (top, left) in enumerate([(4, 8), (20, 60), (36, 30)]):
        area = np.s_[:, top : top + 24, left : left + 24]
        semantic[area], thing[area] = number + 1, number
    return {
        "semantic_gt": tf.constant(semantic, tf.int32),
        "thing_id_mask_gt": tf.constant(thing, tf.int32),
        "thing_id_class_gt": tf.constant([[1, 2, 3, -1, -1, -1]] * 2),
        "semantic_loss_weight": tf.ones(semantic.shape),
    }


def _config(text: str, overrides: Sequence[str]) -> experiment_pb2.ExperimentOptions:
    config = text_format.Parse(text, experiment_pb2.ExperimentOptions())
    apply_overrides(config, overrides)
    resolve_config(config, "example", pathlib.Path("example.textproto"))
    return config
