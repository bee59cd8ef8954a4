"""Training batches and logits without data."""

import numpy as np
import tensorflow as tf
from command_line import ROOT

from data.input.pipeline import training_dataset
from kmax_tf import build_postprocessor, load_config
from protos.config import dataset_info
from trainer.measure.synthetic_batch import synthetic_batch, synthetic_logits


def test_shapes_and_types_are_those_of_the_pipeline(tiny_config):
    config = load_config(tiny_config, ["train_dataset_options.crop_size=[65,97]"])
    options, info = config.train_dataset_options, dataset_info(config)
    options.batch_size = 3
    expected = training_dataset(options, info, seed=0, batch_size=3).element_spec
    options.file_pattern[:] = ["/nowhere/*"]
    batch = synthetic_batch(options, info)
    assert set(batch) == set(expected) - {"image_name", "input_report"}
    for name, value in batch.items():
        assert tf.TensorSpec.from_tensor(value).is_compatible_with(expected[name]), name
    assert (batch["thing_id_class_gt"].numpy() >= 0).any() and batch["image"].numpy().std() > 10
    assert options.file_pattern == ["/nowhere/*"]


def test_logits_show_segments_and_void():
    config = load_config(ROOT / "configs/coco/kmax_r50.textproto")
    logits = synthetic_logits((257, 321), 128, 133)
    assert [value.shape for value in logits.values()] == [[1, 65, 81, 128], [1, 128, 134]]
    areas = np.unique(build_postprocessor(config)(logits, (257, 321))["panoptic_pred"], return_counts=True)[1]
    assert len(areas) > 10 and areas[0] < areas.sum() / 2, "more than ten segments, and void covers less than half"
