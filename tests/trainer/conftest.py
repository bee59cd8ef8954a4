"""A tiny model on a few drawn scenes: everything that the trainer does, in seconds."""

import pathlib
import shutil

import pytest
from command_line import run_door

from protos import descriptions
from protos.descriptions import DatasetInfo

TINY = """
experiment_name: "tiny"
model_options {
  backbone { name: "kmax_convnext_atto" drop_path_keep_prob: 0.5 }
  decoder { decoder_channels: 8 aspp_channels: 8 }
  pixel_decoder { channels: [8, 8, 8, 8] num_blocks: [1, 1, 1, 1] }
  max_deeplab {
    pixel_space_head { head_channels: 16 output_channels: 16 }
    auxiliary_semantic_head { head_channels: 8 }
    auxiliary_low_level { feature_key: "res3" channels_project: 8 }
    auxiliary_low_level { feature_key: "res2" channels_project: 8 }
    num_mask_slots: 8
    num_decoders: [1, 0, 0]
    decoder_channels: 16
    ffn_channels: 16
    instance_discrimination_sample_k: 64
  }
}
trainer_options {
  seed: 3
  save_checkpoints_steps: 100
  save_summaries_steps: 2
  steps_per_loop: 2
  loss_options {
    semantic_loss { weight: 1.0 }
    pq_style_loss { weight: 3.0 }
    mask_id_cross_entropy_loss { weight: 0.3 }
    instance_discrimination_loss { weight: 1.0 }
  }
  solver_options {
    optimizer: "adamw"
    adamw_weight_decay: 0.05
    base_learning_rate: 0.002
    backbone_learning_rate_multiplier: 0.1
    training_number_of_steps: 8
    warmup_steps: 2
  }
}
train_dataset_options {
  dataset: "scenes_panoptic"
  file_pattern: "RECORDS/train-*.tfrecord"
  batch_size: 2
  crop_size: [65, 65]
  max_thing_id: 16
  augmentations { min_scale_factor: 0.8 max_scale_factor: 1.2 scale_factor_step_size: 0.1 }
}
eval_dataset_options {
  dataset: "scenes_panoptic"
  file_pattern: "RECORDS/val-*.tfrecord"
  batch_size: 2
  crop_size: [97, 97]
  max_thing_id: 16
}
evaluator_options {
  eval_interval: 4
  transformer_post_processing: "maskwise"
  maskwise_postprocessing {
    transformer_class_confidence_threshold_thing: 0.0
    transformer_class_confidence_threshold_stuff: 0.0
  }
  pixel_confidence_threshold: 0.1
}
"""


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """TFRecords of 6 scenes to train on and 3 to evaluate on, and their images."""
    folder = tmp_path_factory.mktemp("scenes")
    result = run_door("data/build_scenes.py", f"--output_dir={folder}", "--num_train=6", "--num_val=3", "--num_workers=1")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def tiny_config(records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("config") / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", str(records)))
    return path


@pytest.fixture
def images(records: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the images of the evaluation, which a test may change."""
    return pathlib.Path(shutil.copytree(records / "val", tmp_path / "images"))


@pytest.fixture
def info() -> DatasetInfo:
    """The classes of the drawn scenes."""
    return descriptions.load("scenes_panoptic")
