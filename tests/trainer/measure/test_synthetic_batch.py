"""Synthetic batches compared with those of the input pipeline."""

import numpy as np
import tensorflow as tf

from data.input.pipeline import training_dataset
from kmax_tf import load_config
from protos.config import dataset_info
from trainer.measure.synthetic_batch import synthetic_batch


def test_shapes_and_types_are_those_of_the_pipeline(tiny_config):
    config = load_config(tiny_config)
    options, info = config.train_dataset_options, dataset_info(config)
    expected = training_dataset(options, info, seed=0, batch_size=options.batch_size).element_spec
    batch = synthetic_batch(options, info)
    assert set(batch) == set(expected) - {"image_name", "input_report"}
    for name, value in batch.items():
        assert tf.TensorSpec.from_tensor(value).is_compatible_with(expected[name]), name


def test_targets_are_things_on_stuff(tiny_config):
    config = load_config(tiny_config, ["train_dataset_options.crop_size=[65,97]"])
    info = dataset_info(config)
    batch = synthetic_batch(config.train_dataset_options, info)
    classes, masks = batch["thing_id_class_gt"].numpy()[0], batch["thing_id_mask_gt"].numpy()[0]
    semantic = batch["semantic_gt"].numpy()[0]
    assert (classes >= 0).sum() == 9 and set(classes[:9]) <= set(info.thing_ids)
    assert set(np.unique(masks)) == set(range(-1, 9))
    for number in range(9):
        assert (masks == number).sum() == (65 // 6) * (97 // 6)
        assert set(semantic[masks == number]) == {classes[number]}
    assert set(semantic[masks < 0]) == set(info.stuff_ids[:2])
    images = batch["image"].numpy()
    assert 0 <= images.min() and images.max() <= 255 and images.std() > 50 and not np.array_equal(images[0], images[1])


def test_at_most_max_thing_id_things(tiny_config):
    config = load_config(tiny_config, ["train_dataset_options.max_thing_id=4"])
    batch = synthetic_batch(config.train_dataset_options, dataset_info(config))
    assert (batch["thing_id_class_gt"].numpy() >= 0).sum(1).tolist() == [4, 4]
