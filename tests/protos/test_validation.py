import logging

import pytest
from google.protobuf import text_format

from protos import experiment_pb2
from protos.defaults import fill_defaults
from protos.descriptions import ClassInfo, ConfigError, DatasetInfo, load
from protos.overrides import apply_overrides
from protos.validation import check_required, validate

BASE = """
experiment_name: "small"
model_options { backbone { name: "kmax_resnet50" } max_deeplab {} }
trainer_options { solver_options {} loss_options { semantic_loss {} } }
train_dataset_options { dataset: "coco_panoptic" crop_size: [641, 641] augmentations { panoptic_copy_paste {} } }
eval_dataset_options { dataset: "coco_panoptic" crop_size: [641, 641] batch_size: 1 }
evaluator_options { maskwise_postprocessing {} }
"""
COCO = load("coco_panoptic")

TRAIN, EVAL, MODEL = "train_dataset_options", "eval_dataset_options", "model_options"
MAX, SOLVER = "model_options.max_deeplab", "trainer_options.solver_options"
MERGING = "evaluator_options.maskwise_postprocessing"
RES2, RES3 = ('feature_key: "res2" channels_project: 8', 'feature_key: "res3" channels_project: 8')
PASTE = f"{TRAIN}.augmentations.panoptic_copy_paste"


def check(*overrides, infos=(COCO, COCO)):
    config = text_format.Parse(BASE, experiment_pb2.ExperimentOptions())
    apply_overrides(config, overrides)
    fill_defaults(config, infos[0])
    validate(config, infos, "small.textproto")
    return config


# Overrides, the field that the message names, part of the message.
WRONG = [
    # Sizes.
    ([f"{TRAIN}.crop_size=[640,641]"], f"{TRAIN}.crop_size", "609 or 641 for the height and 641 for the width"),
    ([f"{TRAIN}.crop_size=[1,33]"], f"{TRAIN}.crop_size", "33 for the height"),
    ([f"{TRAIN}.crop_size=641"], f"{TRAIN}.crop_size", "must have 2 values, not 1"),
    ([f"{EVAL}.crop_size=[641,641,3]"], f"{EVAL}.crop_size", "must have 2 values, not 3"),
    ([f"{TRAIN}.max_resize_value=642"], f"{TRAIN}.max_resize_value", "[642] must be at most crop_size [641, 641]"),
    ([f"{TRAIN}.max_resize_value=[641,642]"], f"{TRAIN}.max_resize_value", "at most crop_size"),
    ([f"{TRAIN}.max_resize_value=[1,2,3]"], f"{TRAIN}.max_resize_value", "one value, or one for height"),
    ([f"{TRAIN}.min_resize_value=-1"], f"{TRAIN}.min_resize_value[0]", "at least 0"),
    (
        [f"{TRAIN}.min_resize_value=65", f"{TRAIN}.max_resize_value=64"],
        f"{TRAIN}.min_resize_value",
        "at most max_resize_value [64]",
    ),
    ([f"{EVAL}.min_resize_value=650"], f"{EVAL}.min_resize_value", "at most max_resize_value [641, 641]"),
    # Batches and steps.
    ([f"{TRAIN}.batch_size=0"], f"{TRAIN}.batch_size", "0 must be at least 1"),
    (
        ["trainer_options.accumulate_steps=3"],
        f"{TRAIN}.batch_size",
        "32 must be divisible by trainer_options.accumulate_steps, 3",
    ),
    (["trainer_options.accumulate_steps=0"], "trainer_options.accumulate_steps", "at least 1"),
    (["trainer_options.steps_per_loop=0"], "trainer_options.steps_per_loop", "at least 1"),
    (["trainer_options.seed=-1"], "trainer_options.seed", "from 0 to 2147483647"),
    ([f"{SOLVER}.training_number_of_steps=0"], f"{SOLVER}.training_number_of_steps", "at least 1"),
    (["evaluator_options.eval_steps=0"], "evaluator_options.eval_steps", "-1 or at least 1"),
    # Labels.
    ([f"{TRAIN}.max_thing_id=0"], f"{TRAIN}.max_thing_id", "from 1 to 65535"),
    ([f"{TRAIN}.decode_groundtruth_label=false"], f"{TRAIN}.decode_groundtruth_label", "training needs labels"),
    ([f"{EVAL}.data_service=grpc://host:1"], f"{EVAL}.data_service", "only train_dataset_options can have one"),
    ([f"{TRAIN}.max_thing_id=256"], f"{TRAIN}.max_thing_id", "below the panoptic_label_divisor of coco_panoptic, 256"),
    ([f"{MAX}.num_dropped_mask_slots=128"], f"{MAX}.num_dropped_mask_slots", "128 must be below num_mask_slots, 128"),
    ([f"{MAX}.num_mask_slots=0"], f"{MAX}.num_mask_slots", "at least 1"),
    ([f"{MAX}.auxiliary_semantic_head.output_channels=133"], f"{MAX}.auxiliary_semantic_head.output_channels", "must be 134"),
    # Augmentation.
    ([f"{TRAIN}.augmentations.flip_probability=1.5"], f"{TRAIN}.augmentations.flip_probability", "1.5 must be from 0 to 1"),
    (
        [f"{TRAIN}.augmentations.min_scale_factor=1.5"],
        f"{TRAIN}.augmentations.min_scale_factor",
        "1.5 must be at most max_scale",
    ),
    ([f"{TRAIN}.augmentations.autoaugment_policy_name=simple"], f"{TRAIN}.augmentations.autoaugment_policy_name", "one of ''"),
    ([f"{PASTE}.panoptic_copy_paste_thing_option=al"], f"{PASTE}.panoptic_copy_paste_thing_option", 'did you mean "all"?'),
    # Model.
    ([f"{MODEL}.backbone.name=kmax_resnet"], f"{MODEL}.backbone.name", 'did you mean "kmax_resnet50"?'),
    ([f"{MODEL}.backbone.drop_path_keep_prob=0"], f"{MODEL}.backbone.drop_path_keep_prob", "above 0 and at most 1"),
    ([f"{MAX}.transformer_decoder_drop_path_keep_prob=1.1"], f"{MAX}.transformer_decoder_drop_path_keep_prob", "at most 1"),
    ([f"{MAX}.num_decoders=[2,2]"], f"{MAX}.num_decoders", "three values"),
    ([f"{MAX}.num_decoders=[0,0,0]"], f"{MAX}.num_decoders", "not all zero"),
    ([f"{MAX}.num_decoders=[3,-1,0]"], f"{MAX}.num_decoders[1]", "-1 must be at least 0"),
    ([f"{MAX}.decoder_channels=24"], f"{MAX}.decoder_channels", "24 must be a positive multiple of 16"),
    ([f"{MAX}.decoder_channels=0"], f"{MAX}.decoder_channels", "0 must be a positive multiple of 16"),
    ([f"{MODEL}.pixel_decoder.channels=[512,256,128]"], f"{MODEL}.pixel_decoder.channels", "four values"),
    ([f"{MODEL}.pixel_decoder.channels=[64,32,16,12]"], f"{MODEL}.pixel_decoder.channels[3]", "multiple of 8"),
    ([f"{MODEL}.pixel_decoder.num_blocks=[1,5,1]"], f"{MODEL}.pixel_decoder.num_blocks", "as many values as channels, 4"),
    ([f"{MODEL}.decoder.atrous_rates=[6,12]"], f"{MODEL}.decoder.atrous_rates", "three values"),
    ([f'{MAX}.auxiliary_low_level=[{{feature_key: "res3"}}]'], f"{MAX}.auxiliary_low_level[0].channels_project", "not set"),
    (
        [f'{MAX}.auxiliary_low_level=[{{feature_key: "res4" channels_project: 8}}]'],
        f"{MAX}.auxiliary_low_level[0].feature_key",
        "one of 'res2', 'res3'",
    ),
    ([f"{MAX}.auxiliary_low_level=[{{{RES2}}}, {{{RES3}}}]"], f"{MAX}.auxiliary_low_level", "coarsest first"),
    ([f"{MAX}.auxiliary_low_level=[{{{RES3}}}, {{{RES3}}}]"], f"{MAX}.auxiliary_low_level", "each feature once"),
    # Optimizer and losses.
    ([f"{SOLVER}.optimizer=adamww"], f"{SOLVER}.optimizer", 'did you mean "adamw"?'),
    ([f"{SOLVER}.ema_decay=1"], f"{SOLVER}.ema_decay", "below 1"),
    (
        [f"{SOLVER}.optimizer=sgd", f"{SOLVER}.skip_nonfinite_steps=true"],
        f"{SOLVER}.skip_nonfinite_steps",
        "needs optimizer 'adamw', not 'sgd'",
    ),
    ([f"{SOLVER}.learning_policy=linear"], f"{SOLVER}.learning_policy", "one of 'poly', 'cosine'"),
    ([f"{SOLVER}.batchnorm_momentum=1"], f"{SOLVER}.batchnorm_momentum", "below 1"),
    ([f"{SOLVER}.base_learning_rate=nan"], f"{SOLVER}.base_learning_rate", "nan must be a finite number"),
    ([f"{SOLVER}.base_learning_rate=inf"], f"{SOLVER}.base_learning_rate", "inf must be a finite number"),
    (
        ["trainer_options.loss_options.semantic_loss.top_k_percent=20"],
        "semantic_loss.top_k_percent",
        "20 must be above 0 and at",
    ),
    # Post-processing.
    (["evaluator_options.transformer_post_processing=maskwize"], "transformer_post_processing", 'did you mean "maskwise"?'),
    (["evaluator_options.pixel_confidence_threshold=1"], "evaluator_options.pixel_confidence_threshold", "below 1"),
    ([f"{MERGING}.overlapping_threshold=-0.1"], f"{MERGING}.overlapping_threshold", "-0.1 must be from 0 to 1"),
]


@pytest.mark.parametrize(("overrides", "field", "words"), WRONG)
def test_errors_name_invalid_values(overrides, field, words):
    with pytest.raises(ConfigError) as error:
        check(*overrides)
    assert str(error.value).startswith("small.textproto: ")
    assert f"{field}: " in str(error.value)
    assert words in str(error.value)


def test_the_base_config_of_these_tests_is_valid():
    assert check().model_options.max_deeplab.num_mask_slots == 128


@pytest.mark.parametrize(
    "override",
    [
        f"{TRAIN}.crop_size=[33,2049]",
        f"{TRAIN}.max_resize_value=[641,641]",
        f"{TRAIN}.min_resize_value=1281",
        f"{TRAIN}.min_resize_value=[641,0]",
        f"{EVAL}.min_resize_value=[0,9999]",
        f"{TRAIN}.max_resize_value=[0,9999]",
        f"{EVAL}.resize_factor=48",
        f"{TRAIN}.max_thing_id=255",
        f"{MAX}.num_mask_slots=300",
        f"{MAX}.num_dropped_mask_slots=127",
        f"{MAX}.num_decoders=[0,0,1]",
        f"{MAX}.decoder_channels=16",
        f"{MODEL}.pixel_decoder={{channels: [64, 48, 32, 32, 16] num_blocks: [1, 1, 1, 1, 2]}}",
        f"{MODEL}.backbone.drop_path_keep_prob=1",
        f"{SOLVER}.base_learning_rate=0",
        f"{TRAIN}.augmentations.autoaugment_policy_name=simple_classification_policy_magnitude_scale_0.2",
    ],
)
def test_boundary_values_are_valid(override):
    check(override)


def test_all_problems_are_reported_together():
    with pytest.raises(ConfigError) as error:
        check(f"{TRAIN}.batch_size=0", f"{MAX}.decoder_channels=7")
    lines = str(error.value).splitlines()
    assert lines[0] == "small.textproto: 2 fields are invalid:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"{MAX}.decoder_channels", f"{TRAIN}.batch_size"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (BASE.replace('name: "kmax_resnet50"', ""), f"{MODEL}.backbone.name"),
        (BASE.replace("max_deeplab {}", ""), MAX),
        (BASE.replace('{ dataset: "coco_panoptic"', "{", 1), f"{TRAIN}.dataset"),
        (BASE.replace("crop_size: [641, 641] batch", "batch"), f"{EVAL}.crop_size"),
        ("\n".join(line for line in BASE.splitlines() if "_dataset_" not in line), TRAIN),
    ],
)
def test_errors_name_missing_fields(text, field):
    with pytest.raises(ConfigError) as error:
        check_required(text_format.Parse(text, experiment_pb2.ExperimentOptions()), "small.textproto")
    assert str(error.value).startswith(f"small.textproto: {field}: not set")


def table(name="pets", label_divisor=256, ignore_label=0, names=("cat", "dog")):
    classes = tuple(ClassInfo(i + 1, name, True, i + 1, (0, 0, 0)) for i, name in enumerate(names))
    return DatasetInfo(name, label_divisor, ignore_label, classes)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (table(label_divisor=1000), "label_divisor 1000"),
        (table(ignore_label=255), "ignore_label 255"),
        (table(names=("cat", "cow")), "class 2 dog (thing) of pets is 2 cow (thing)"),
        (table(names=("cat",)), "class 2 dog (thing) of pets is not in pets"),
    ],
)
def test_training_and_evaluation_must_have_the_same_classes(other, words):
    with pytest.raises(ConfigError, match="eval_dataset_options.dataset: ") as error:
        check(infos=(table(), other))
    assert words in str(error.value)


def test_equal_tables_with_different_names_are_valid():
    check(infos=(table("pets_train"), table("pets_val")))


@pytest.mark.parametrize(
    ("override", "warned"),
    [
        (f"{TRAIN}.sigma=3", True),
        (f"{TRAIN}.sigma=8", False),
        ("evaluator_options.eval_scales=[0.5, 1, 2]", True),
        ("evaluator_options.eval_scales=1", False),
        ("trainer_options.loss_options.center_loss={weight: 200}", True),
        (f"{TRAIN}.thing_id_mask_annotations=true", False),
        (f"{MODEL}.decoder.feature_key=res5", True),
        (f"{MODEL}.decoder.feature_key=feature_semantic", False),
        (f"{MODEL}.backbone.output_stride=16", True),
        (f"{SOLVER}.weight_decay=1e-4", True),
        (f"{MAX}.semantic_sample_temperature=2", True),
        ("trainer_options.loss_options.semantic_loss.name=softmax_cross_entropy", False),
        ("trainer_options.loss_options.semantic_loss.name=focal", True),
    ],
)
def test_ignored_fields_warn_once(caplog, override, warned):
    with caplog.at_level(logging.WARNING):
        check(override)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == int(warned)
    if warned:
        assert f"{override.split('=')[0]} is accepted" in messages[0]


def test_learning_rates_that_stay_too_small_warn(caplog):
    with caplog.at_level(logging.WARNING):
        check(f"{SOLVER}.warmup_steps=5000", f"{SOLVER}.training_number_of_steps=100")
        check(f"{SOLVER}.base_learning_rate=0")
        check(f"{SOLVER}.backbone_learning_rate_multiplier=0")
    assert "base_learning_rate is never reached" in caplog.text
    assert "base_learning_rate: it is 0, so nothing is learned" in caplog.text
    assert "backbone_learning_rate_multiplier: it is 0, so the encoder stays as it is" in caplog.text
    assert len(caplog.records) == 3
