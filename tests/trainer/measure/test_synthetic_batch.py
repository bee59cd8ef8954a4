"""Training batches without data compared with those of the input pipeline."""

import tensorflow as tf

from data.input.pipeline import training_dataset
from kmax_tf import load_config
from protos.config import dataset_info
from trainer.measure.synthetic_batch import synthetic_batch


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
