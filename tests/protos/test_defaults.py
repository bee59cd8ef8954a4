import dataclasses

import pytest

from protos import descriptions, experiment_pb2, model_pb2
from protos.defaults import fill_defaults
from protos.descriptions import ClassInfo, DatasetInfo


def info(name, num_classes=5, ignore_label=0):
    first = 1 if ignore_label == 0 else 0
    classes = tuple(ClassInfo(first + i, f"class {i}", i % 2 == 0, first + i, (0, 0, i)) for i in range(num_classes))
    return DatasetInfo(name, 1000, ignore_label, classes)


def filled(name, *args, config=None):
    config = config or experiment_pb2.ExperimentOptions()
    fill_defaults(config, info(name, *args))
    return config


# Shipped description: mask slots, drop path, semantic decoder, pixel decoder widths and blocks (facts of DeepLab2's code).
PUBLISHED = [
    ("coco_panoptic", 128, 0.8, True, [512, 256, 128, 64], [1, 5, 1, 1]),
    ("cityscapes_panoptic", 256, 0.8, False, [512, 256, 128, 64, 32], [1, 5, 1, 1, 1]),
    ("ade20k_panoptic", 128, 1.0, True, [512, 256, 128, 64], [1, 5, 1, 1]),
    ("scenes_panoptic", 128, 0.8, True, [512, 256, 128, 64], [1, 5, 1, 1]),
]


@pytest.mark.parametrize(("name", "slots", "keep", "semantic_decoder", "widths", "blocks"), PUBLISHED)
def test_fields_that_follow_the_description(name, slots, keep, semantic_decoder, widths, blocks):
    config = experiment_pb2.ExperimentOptions()
    fill_defaults(config, descriptions.load(name))
    model = config.model_options
    assert model.max_deeplab.num_mask_slots == slots
    assert model.max_deeplab.transformer_decoder_drop_path_keep_prob == pytest.approx(keep)
    assert model.decoder.use_semantic_decoder is semantic_decoder
    assert list(model.pixel_decoder.channels) == widths
    assert list(model.pixel_decoder.num_blocks) == blocks


@pytest.mark.parametrize("name", ["cityscapes_panoptic", "mycityscapes", "ade20k_panoptic", "my_ade20k_rooms"])
def test_names_do_not_affect_defaults(name):
    assert filled(name) == filled("pets")


def test_values_of_the_config_replace_those_of_the_description():
    defaults = model_pb2.ModelOptions()
    defaults.max_deeplab.num_mask_slots = 64
    defaults.max_deeplab.num_decoders.extend([1, 1, 1])
    defaults.decoder.use_semantic_decoder = False
    defaults.decoder.atrous_rates.extend([3, 6, 9])
    config = experiment_pb2.ExperimentOptions()
    config.model_options.max_deeplab.num_mask_slots = 32
    config.model_options.decoder.atrous_rates.extend([1, 2, 3])
    fill_defaults(config, dataclasses.replace(info("pets"), model_defaults=defaults))
    model = config.model_options
    assert (model.max_deeplab.num_mask_slots, model.decoder.use_semantic_decoder) == (32, False)
    assert (list(model.max_deeplab.num_decoders), list(model.decoder.atrous_rates)) == ([1, 1, 1], [1, 2, 3])


def test_fields_that_do_not_depend_on_the_dataset():
    model = filled("pets").model_options
    assert list(model.max_deeplab.num_decoders) == [2, 2, 2]
    assert list(model.decoder.atrous_rates) == [6, 12, 18]
    assert model.max_deeplab.pixel_space_head.output_channels == 128
    fused = [(level.feature_key, level.channels_project) for level in model.max_deeplab.auxiliary_low_level]
    assert fused == [("res3", 64), ("res2", 32)]


@pytest.mark.parametrize(("num_classes", "ignore_label", "channels"), [(133, 0, 134), (19, 255, 19), (150, 0, 151)])
def test_semantic_channels_are_the_ids(num_classes, ignore_label, channels):
    head = filled("any", num_classes, ignore_label).model_options.max_deeplab.auxiliary_semantic_head
    assert head.output_channels == channels


def test_set_fields_are_kept():
    config = experiment_pb2.ExperimentOptions()
    transformer = config.model_options.max_deeplab
    transformer.num_mask_slots = 7
    transformer.num_decoders.extend([0, 0, 1])
    transformer.transformer_decoder_drop_path_keep_prob = 1.0
    transformer.auxiliary_low_level.add(feature_key="res3", channels_project=8)
    config.model_options.decoder.use_semantic_decoder = False
    config.model_options.pixel_decoder.channels.extend([64, 48, 32, 32, 16])
    fill_defaults(config, info("coco_panoptic"))
    assert transformer.num_mask_slots == 7
    assert list(transformer.num_decoders) == [0, 0, 1]
    assert transformer.transformer_decoder_drop_path_keep_prob == 1.0
    assert len(transformer.auxiliary_low_level) == 1
    assert not config.model_options.decoder.use_semantic_decoder
    assert list(config.model_options.pixel_decoder.num_blocks) == [1, 5, 1, 1, 1]


def test_evaluation_resizes_to_the_crop_and_training_does_not():
    config = experiment_pb2.ExperimentOptions()
    for options in (config.train_dataset_options, config.eval_dataset_options):
        options.crop_size.extend([641, 1281])
    fill_defaults(config, info("coco_panoptic"))
    assert list(config.eval_dataset_options.max_resize_value) == [641, 1281]
    assert not config.train_dataset_options.max_resize_value


def test_evaluation_without_resizing_stays_without():
    config = experiment_pb2.ExperimentOptions()
    config.eval_dataset_options.crop_size.extend([1025, 2049])
    config.eval_dataset_options.max_resize_value.append(0)
    fill_defaults(config, info("cityscapes_panoptic"))
    assert list(config.eval_dataset_options.max_resize_value) == [0]


def test_absent_sections_stay_absent():
    config = filled("coco_panoptic")
    assert [field.name for field, _ in config.ListFields()] == ["model_options"]
