"""The textprotos of DeepLab2's kMaX experiments, unchanged, and its configuration schema."""

import ast
import logging
import pathlib

import pytest
from deeplab2_textprotos import EXAMPLE, EXPERIMENTS, textproto
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from data.input import pipeline
from data.records.schema import DataError
from kmax_tf.registry import registered
from protos import experiment_pb2
from protos.config import dataset_info, load_config
from protos.descriptions import ConfigError
from protos.rules import IGNORED

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = [*EXPERIMENTS, EXAMPLE]
MAX = "model_options.max_deeplab"

# What DeepLab2 hard-codes per dataset name: slots, drop path of the kMaX decoders, semantic decoder, widths and blocks of the
# pixel decoder; and what follows from a dataset's class table: semantic channels, classes.
BY_DATASET = {
    "coco": (128, 0.8, True, [512, 256, 128, 64], [1, 5, 1, 1], 134, 133),
    "cityscapes": (256, 0.8, False, [512, 256, 128, 64, 32], [1, 5, 1, 1, 1], 19, 19),
    "ade20k": (128, 1.0, True, [512, 256, 128, 64], [1, 5, 1, 1], 151, 150),
}

# Number, name, type and default of each field in DeepLab2's messages, without those of other architectures.
SCHEMA = {
    "ExperimentOptions": "1 experiment_name string, 2 model_options, 3 trainer_options, 4 train_dataset_options,"
    "5 evaluator_options, 6 eval_dataset_options",
    "ModelOptions": "1 backbone, 2 decoder, 10 max_deeplab, 6 initial_checkpoint string,"
    "8 restore_semantic_last_layer_from_initial_checkpoint bool true,"
    "9 restore_instance_last_layer_from_initial_checkpoint bool true",
    "BackboneOptions": "1 name string, 2 output_stride int32 32, 3 pretrained_weights string,"
    "4 use_squeeze_and_excite bool false, 5 drop_path_keep_prob float 1, 6 drop_path_schedule string constant,"
    "7 stem_width_multiplier float 1, 8 backbone_width_multiplier float 1, 9 backbone_layer_multiplier float 1,"
    "10 use_sac_beyond_stride int32 -1",
    "DecoderOptions": "1 feature_key string, 2 decoder_channels int32 256, 3 aspp_channels int32 256, 4 atrous_rates int32*,"
    "5 decoder_conv_type string depthwise_separable_conv, 6 aspp_use_only_1x1_proj_conv bool false",
    "LowLevelOptions": "1 feature_key string, 2 channels_project int32",
    # DeepLab2 has no default for head_channels.
    "HeadOptions": "1 output_channels int32, 2 head_channels int32 256, 3 head_conv_type string depthwise_separable_conv,"
    "4 max_value_after_activation float 0, 5 min_value_after_activation float 0",
    "MaXDeepLabOptions": "1 pixel_space_head, 2 auxiliary_low_level *, 3 auxiliary_semantic_head,"
    "4 instance_discrimination_sample_k int32 0, 5 instance_discrimination_sample_temperature float 0.6,"
    "6 semantic_sample_k int32 0, 7 semantic_sample_temperature float 1,"
    # An ADE20K textproto sets this field, which the schema does not have.
    "8 transformer_decoder_drop_path_keep_prob float",
    "TrainerOptions": "1 num_checkpoints_to_keep int32 5, 2 save_checkpoints_steps int32 1000,"
    "3 save_summaries_steps int32 1000, 4 steps_per_loop int32 1000, 5 loss_options, 6 solver_options",
    "SolverOptions": "1 use_sync_batchnorm bool true, 2 learning_policy string poly, 3 base_learning_rate float 0.001,"
    "4 poly_learning_power float 0.9, 5 poly_end_learning_rate float 0, 6 warmup_steps int32 0, 7 optimizer string adam,"
    "8 weight_decay float 0, 9 use_gradient_clipping bool false, 10 clip_gradient_norm float 10,"
    "11 training_number_of_steps int32 60000, 14 batchnorm_momentum float 0.99, 15 batchnorm_epsilon float 0.001,"
    "16 backbone_learning_rate_multiplier float 1, 17 adamw_weight_decay float 0",
    "LossOptions": "1 semantic_loss, 2 center_loss, 3 regression_loss, 4 motion_loss, 5 next_regression_loss,"
    "6 pq_style_loss, 7 mask_id_cross_entropy_loss, 8 instance_discrimination_loss, 9 depth_loss",
    "SingleLossOptions": "1 name string, 2 weight float 1, 3 top_k_percent float 1",
    "DatasetOptions": "1 dataset string, 2 file_pattern string*, 3 batch_size int32 32, 4 crop_size int32*,"
    "5 min_resize_value int32*, 6 max_resize_value int32*, 7 resize_factor int32, 8 augmentations, 9 sigma float 8,"
    "10 increase_small_instance_weights bool false, 11 small_instance_threshold int32 4096,"
    "12 small_instance_weight float 3, 13 use_two_frames bool false, 14 decode_groundtruth_label bool true,"
    "15 thing_id_mask_annotations bool false, 16 max_thing_id int32 128, 17 use_next_frame bool false,"
    "18 cameras_to_use string*",
    "AugmentationOptions": "1 min_scale_factor float 1, 2 max_scale_factor float 1, 3 scale_factor_step_size float 0.25,"
    "4 autoaugment_policy_name string, 5 panoptic_copy_paste",
    "PanopticCopyPasteOptions": "1 panoptic_copy_paste_scale float 0, 2 panoptic_copy_paste_thing_option string random,"
    "3 panoptic_copy_paste_stuff_option string random, 4 panoptic_copy_paste_void_option string none",
    "EvaluatorOptions": "1 eval_steps int32 -1, 2 eval_interval int32 5000, 3 continuous_eval_timeout int32 -1,"
    "4 use_tf_function bool true, 5 add_flipped_images bool false, 6 stuff_area_limit int32 0,"
    "7 center_score_threshold float 0.1, 8 nms_kernel int32 3, 9 keep_k_centers int32 400, 10 save_predictions bool false,"
    "11 override_save_dir string, 12 num_vis_samples int32 10, 13 save_raw_predictions bool false,"
    "14 convert_raw_to_eval_ids bool true, 15 eval_scales float*, 16 merge_semantic_and_instance_with_tf_op bool true,"
    "17 raw_panoptic_format string two_channel_png, 18 detailed_ap_metrics bool false, 19 thing_area_limit int32 0,"
    "20 transformer_class_confidence_threshold float 0.7, 21 pixel_confidence_threshold float 0.4,"
    "22 transformer_post_processing string pixelwise, 23 maskwise_postprocessing",
    "MaskwisePostProcessingOptions": "1 transformer_class_confidence_threshold_thing float 0.7,"
    "2 transformer_class_confidence_threshold_stuff float 0.7, 3 overlapping_threshold float 0.5,"
    "4 reorder_class_weight float 1, 5 reorder_mask_weight float 0",
}
TYPES = {
    "": Field.TYPE_MESSAGE,
    "bool": Field.TYPE_BOOL,
    "float": Field.TYPE_FLOAT,
    "int32": Field.TYPE_INT32,
    "string": Field.TYPE_STRING,
}


@pytest.fixture
def load(tmp_path):
    def _load(text, name="experiment.textproto"):
        path = tmp_path / name
        path.write_text(text)
        return load_config(path)

    return _load


def set_fields(message):
    """(message, field, value) of every field that is set, at any depth; repeated messages yield one item each."""
    for field, value in message.ListFields():
        yield message.DESCRIPTOR.name, field.name, value
        if field.message_type is not None:
            for item in value if hasattr(value, "add") else [value]:
                yield from set_fields(item)


def values_by_path(message, prefix=""):
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is None:
            yield path, list(value) if hasattr(value, "extend") else value
        else:
            for position, item in enumerate(value if hasattr(value, "add") else [value]):
                yield from values_by_path(item, f"{path}[{position}].")


@pytest.mark.parametrize("name", NAMES)
def test_fields_that_follow_from_the_dataset(load, name):
    config = load(textproto(name))
    dataset = "coco" if name == EXAMPLE else name.partition("/")[0]
    slots, keep, semantic_decoder, widths, blocks, ids, classes = BY_DATASET[dataset]
    model = config.model_options
    assert model.max_deeplab.num_mask_slots == slots
    assert model.max_deeplab.transformer_decoder_drop_path_keep_prob == pytest.approx(keep)
    assert list(model.max_deeplab.num_decoders) == [2, 2, 2] and model.max_deeplab.deep_supervision
    assert model.decoder.use_semantic_decoder is semantic_decoder
    assert list(model.pixel_decoder.channels) == widths and list(model.pixel_decoder.num_blocks) == blocks
    assert model.max_deeplab.auxiliary_semantic_head.output_channels == ids
    assert dataset_info(config).num_classes == classes


@pytest.mark.parametrize("name", NAMES)
def test_values_of_the_file_are_not_changed(load, name):
    text = textproto(name)
    written = dict(values_by_path(text_format.Parse(text, experiment_pb2.ExperimentOptions())))
    resolved = dict(values_by_path(load(text)))
    placeholders = {path for path, value in written.items() if isinstance(value, str) and "${" in value}
    assert len(placeholders) == (0 if name == EXAMPLE else 2)  # The name of the run and the initial weights.
    kept = {path: value for path, value in resolved.items() if path in written and path not in placeholders}
    assert kept == {path: value for path, value in written.items() if path not in placeholders}
    assert resolved["experiment_name"] == "experiment"
    weights = ("model_options[0].initial_checkpoint", "model_options[0].backbone[0].pretrained_weights")
    assert not any(path in resolved for path in weights)


# Published values of a file: learning rate, steps, batch, temperature of sampling, top_k_percent, things and stuff confidence,
# overlap, mask exponent, area limits of things and stuff, rows of the assignment, policy.
PUBLISHED = {
    "coco": (5e-4, 150000, 64, 1.5, 1.0, 0.7, 0.5, 0.8, 1.0, 400, 6400, 128, "simple_classification_policy"),
    "cityscapes": (3e-4, 60000, 32, 0.6, 0.2, 0.5, 0.3, 0.9, 0.0, 256, 2048, 256)
    + ("simple_classification_policy_magnitude_scale_0.2",),
    "ade20k": (5e-4, 100000, 64, 1.5, 1.0, 0.4, 0.4, 0.8, 1.0, 0, 0, 256, "simple_classification_policy"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_published_values(load, name):
    config = load(textproto(name))
    solver, train, evaluator = config.trainer_options.solver_options, config.train_dataset_options, config.evaluator_options
    merging = evaluator.maskwise_postprocessing
    found = (
        *(solver.base_learning_rate, solver.training_number_of_steps, train.batch_size),
        config.model_options.max_deeplab.instance_discrimination_sample_temperature,
        config.trainer_options.loss_options.semantic_loss.top_k_percent,
        merging.transformer_class_confidence_threshold_thing,
        merging.transformer_class_confidence_threshold_stuff,
        *(merging.overlapping_threshold, merging.reorder_mask_weight),
        *(evaluator.thing_area_limit, evaluator.stuff_area_limit, train.max_thing_id),
    )
    *numbers, policy = PUBLISHED[name.partition("/")[0]]
    assert found == pytest.approx(numbers)
    assert train.augmentations.autoaugment_policy_name == policy
    assert (solver.optimizer, solver.warmup_steps, solver.learning_policy) == ("adamw", 5000, "poly")
    assert [w for _, w in _weights(config)] == pytest.approx([1.0, 3.0, 0.3, 1.0])
    assert list(config.eval_dataset_options.crop_size) == list(train.crop_size)


def _weights(config):
    return [(field.name, term.weight) for field, term in config.trainer_options.loss_options.ListFields()]


@pytest.mark.parametrize("name", NAMES)
def test_a_warning_for_each_field_without_effect(load, name, caplog):
    with caplog.at_level(logging.WARNING):
        load(textproto(name))
    warned = sorted(record.getMessage().partition("textproto: ")[2].split()[0] for record in caplog.records)
    # The Cityscapes textprotos do not set these.
    sampled = name != EXAMPLE and not name.startswith("cityscapes")
    assert warned == ([f"{MAX}.semantic_sample_k", f"{MAX}.semantic_sample_temperature"] if sampled else [])


def test_every_field_is_read_or_listed_as_ignored():
    messages = [text_format.Parse(textproto(name), experiment_pb2.ExperimentOptions()) for name in NAMES]
    fields = {(owner, field) for message in messages for owner, field, _ in set_fields(message)}
    assert len(fields) > 75
    files = [path for package in ("kmax_tf", "data", "trainer") for path in (ROOT / package).rglob("*.py")]
    read = {node.attr for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    # The criterion looks up the options of registered terms by name.
    read |= set(registered("kmax_tf.losses", "LOSS_TERMS"))
    # data/input/copy_paste.py composes these names.
    assert 'f"panoptic_copy_paste_{name}_option"' in (ROOT / "data/input/copy_paste.py").read_text()
    read |= {f"panoptic_copy_paste_{region}_option" for region in ("thing", "stuff", "void")}
    assert {field for owner, field in fields if field not in IGNORED.get(owner, {})} <= read


@pytest.mark.parametrize("architecture", ["deeplab_v3", "deeplab_v3_plus", "panoptic_deeplab", "motion_deeplab", "vip_deeplab"])
def test_other_architectures_are_refused(load, architecture):
    text = textproto(EXAMPLE).replace("  max_deeplab {", f"  {architecture} {{")
    line = next(number for number, content in enumerate(text.splitlines(), 1) if architecture in content)
    with pytest.raises(ConfigError) as error:
        load(text)
    assert f'experiment.textproto:{line}: ModelOptions has no field "{architecture}": ' in str(error.value)
    assert "kMaX-DeepLab (max_deeplab) only" in str(error.value)


@pytest.mark.parametrize("name", [next(iter(EXPERIMENTS)), EXAMPLE])
def test_placeholders_for_training_data_are_refused(load, name):
    options = load(textproto(name)).train_dataset_options
    with pytest.raises(DataError, match=r"file_pattern ('\$\{TRAIN_SET\}' matches no file|is empty).*data/build_coco\.py"):
        pipeline.training_dataset(options, dataset_info(load(textproto(name))), seed=0, batch_size=2)


@pytest.mark.parametrize("message", SCHEMA)
def test_fields_of_deeplab2_keep_number_type_and_default(message):
    ours = DescriptorProto()
    experiment_pb2.DESCRIPTOR.pool.FindMessageTypeByName(f"kmax_tf.{message}").CopyToProto(ours)
    expected = {}
    for entry in SCHEMA[message].split(","):
        number, name, *rest = entry.split()
        kind, default = (rest + ["", ""])[:2]
        expected[int(number), name] = (TYPES[kind.removesuffix("*")], kind.endswith("*"), default)
    found = {}
    for field in ours.field:
        if field.number < 50:
            # The number of digits of a float depends on the compiler version.
            default = f"{float(field.default_value):g}" if field.type == Field.TYPE_FLOAT and field.default_value else ""
            default = default or field.default_value
            found[field.number, field.name] = (field.type, field.label == Field.LABEL_REPEATED, default)
    assert found == expected
