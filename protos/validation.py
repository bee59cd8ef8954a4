"""Validates a config before anything is built from it.

Single values are checked against the tables of protos/rules.py, then combinations of fields. Each check yields its findings as
"path of the field: what is wrong, what is allowed"; all findings are reported together.
"""

import re
from collections.abc import Iterator, Sequence

from absl import logging
from google.protobuf import descriptor, message

from protos import dataset_pb2, experiment_pb2, model_pb2
from protos.descriptions import DatasetInfo, class_difference
from protos.errors import ConfigError
from protos.input_sizes import is_input_side, nearest_size, per_side
from protos.rules import HARMLESS, IGNORED, RULES

# Weights are exact to a thousandth.
_MOST_SOURCES = 1000
_LOW_LEVEL_ORDER = ("res3", "res2")

_Field = tuple[str, str, descriptor.FieldDescriptor, object]


def check_required(config: experiment_pb2.ExperimentOptions, source: str) -> None:
    """Checks that the fields that the defaults depend on are set.

    Raises:
      ConfigError: fields are missing; the message names all of them.
    """
    sections = dataset_sections(config)
    needed = [
        ("model_options.backbone.name", config.model_options.backbone.name, "choose an encoder such as kmax_resnet50"),
        ("model_options.max_deeplab", config.model_options.HasField("max_deeplab"), "it selects kMaX-DeepLab and may be empty"),
        ("train_dataset_options", sections, "set it or eval_dataset_options; at least one must name a dataset"),
    ]
    for path, options in sections:
        advice = "give the name of a description in data/descriptions or the path of one"
        needed.append((f"{path}.dataset", options.dataset, advice))
        needed.append((f"{path}.crop_size", options.crop_size, "give height and width, each 32k+1, such as [641, 641]"))
    _raise([f"{path}: not set; {advice}" for path, value, advice in needed if not value], source)


def validate(config: experiment_pb2.ExperimentOptions, infos: Sequence[DatasetInfo], source: str) -> None:
    """Validates a config whose defaults are filled in, and logs one warning for each ignored field.

    Args:
      infos: the datasets of `dataset_sections(config)`, in the same order.
      source: prefix of the message: the file and any overrides.

    Raises:
      ConfigError: values are invalid; the message names all of these fields and what is allowed.
    """
    problems = list(_value_problems(config))
    for (path, options), info in zip(dataset_sections(config), infos, strict=True):
        problems += [f"{path}.{problem}" for problem in _dataset_problems(options, info)]
    if config.eval_dataset_options.source:
        problems.append("eval_dataset_options.source: evaluation does not mix records by weight; list them in file_pattern")
    if config.eval_dataset_options.data_service:
        problems.append("eval_dataset_options.data_service: only train_dataset_options can have one; remove it")
    if not config.train_dataset_options.decode_groundtruth_label:
        problems.append("train_dataset_options.decode_groundtruth_label: training needs labels; remove it")
    problems += [f"model_options.{problem}" for problem in _model_problems(config.model_options, infos[0])]
    problems += _training_problems(config)
    problems += _class_table_problems(infos[0], infos[-1])
    _raise(problems, source)
    for path in _ignored_fields(config):
        logging.warning("%s: %s is accepted for compatibility with DeepLab2 but has no effect", source, path)


def check_model_defaults(info: DatasetInfo, source: str) -> None:
    """Validates the single values in the `model_defaults` of a description; `source` is its file.

    Raises:
      ConfigError: values are invalid; the message names all of these fields and what is allowed.
    """
    _raise([f"model_defaults.{problem}" for problem in _value_problems(info.model_defaults)], source)


def dataset_sections(config: experiment_pb2.ExperimentOptions) -> list[tuple[str, dataset_pb2.DatasetOptions]]:
    """Path and message of the dataset options that are present, those of evaluation last."""
    paths = ("train_dataset_options", "eval_dataset_options")
    return [(path, getattr(config, path)) for path in paths if config.HasField(path)]


def _raise(problems: Sequence[str], source: str) -> None:
    if len(problems) == 1:
        raise ConfigError(f"{source}: {problems[0]}")
    if problems:
        raise ConfigError("\n  ".join([f"{source}: {len(problems)} fields are invalid:", *problems]))


def _set_fields(options: message.Message, prefix: str = "") -> Iterator[_Field]:
    """Path, message name, field and value of all values that are set, without those inside ignored messages."""
    owner = options.DESCRIPTOR.name
    for field, value in options.ListFields():
        is_list = hasattr(value, "extend")
        for position, item in enumerate(value if is_list else [value]):
            path = f"{prefix}{field.name}" + (f"[{position}]" if is_list else "")
            yield path, owner, field, item
            if field.message_type is not None and field.name not in IGNORED.get(owner, ()):
                yield from _set_fields(item, f"{path}.")


def _value_problems(config: message.Message) -> Iterator[str]:
    for path, owner, field, value in _set_fields(config):
        rule = RULES.get(owner, {}).get(field.name)
        if rule and (problem := rule.problem(value)):
            yield f"{path}: {problem}"
        elif isinstance(value, str) and "\0" in value:
            yield f"{path}: {value!r} contains a NUL character; remove it"


def _ignored_fields(config: message.Message) -> dict[str, None]:
    """Paths of the fields that are set, but have no effect."""
    return {
        re.sub(r"\[\d+\]$", "", path): None
        for path, owner, field, value in _set_fields(config)
        if field.name in IGNORED.get(owner, ())
        and value not in (field.default_value, *HARMLESS.get(f"{owner}.{field.name}", ()))
    }


def _dataset_problems(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> Iterator[str]:
    yield from _size_problems(options)
    if options.max_thing_id >= info.label_divisor:
        divisor = f"the panoptic_label_divisor of {info.name}, {info.label_divisor}"
        yield f"max_thing_id: {options.max_thing_id} must be below {divisor}"
    low, high = options.augmentations.min_scale_factor, options.augmentations.max_scale_factor
    if low > high:
        yield f"augmentations.min_scale_factor: {low:g} must be at most max_scale_factor {high:g}"
    if options.source and options.file_pattern:
        yield "source: file_pattern is set too; move its patterns into a source, or remove source"
    if len(options.source) > _MOST_SOURCES:
        yield f"source: {len(options.source)} sources are more than {_MOST_SOURCES}; put several patterns into one"
    for position, source in enumerate(options.source):
        if not source.file_pattern:
            yield f"source[{position}].file_pattern: not set; give patterns of TFRecord files"


def _size_problems(options: dataset_pb2.DatasetOptions) -> Iterator[str]:
    crop, low, high = list(options.crop_size), list(options.min_resize_value), list(options.max_resize_value)
    if len(crop) != 2 or not all(map(is_input_side, crop)):
        nearest = nearest_size(*crop) if len(crop) == 2 else f"the list must have 2 values, not {len(crop)}"
        yield f"crop_size: {crop} must be height and width, each 32k+1; {nearest}"
        return
    for name, values in (("min_resize_value", low), ("max_resize_value", high)):
        if len(values) > 2:
            yield f"{name}: {values} must be one value, or one for height and one for width"
            return
    smallest, largest = per_side(low), per_side(high)
    if any(value > side for value, side in zip(largest, crop)):
        yield f"max_resize_value: {high} must be at most crop_size {crop}; a resized image must fit into the crop"
    if any(a > (b or a) for a, b in zip(smallest, largest)):
        yield f"min_resize_value: {low} must be at most max_resize_value {high}"


def _model_problems(model: model_pb2.ModelOptions, info: DatasetInfo) -> Iterator[str]:
    transformer = model.max_deeplab
    dropped, slots = transformer.num_dropped_mask_slots, transformer.num_mask_slots
    if dropped >= slots:
        yield f"max_deeplab.num_dropped_mask_slots: {dropped} must be below num_mask_slots, {slots}"
    decoders = list(transformer.num_decoders)
    if len(decoders) != 3 or sum(decoders) < 1:
        yield f"max_deeplab.num_decoders: {decoders} must have three values (stride 32, 16, 8), not all zero"
    if transformer.relaxation.masks and not transformer.deep_supervision:
        yield "max_deeplab.relaxation.masks: has no effect without deep_supervision; set deep_supervision: true"
    channels = transformer.auxiliary_semantic_head.output_channels
    if channels != info.num_ids:
        yield (
            f"max_deeplab.auxiliary_semantic_head.output_channels: {channels} must be {info.num_ids}, the number of ids of "
            f"{info.name}; leave it unset to derive it from the dataset"
        )
    fused = transformer.auxiliary_low_level
    keys = [level.feature_key for level in fused]
    if all(keys) and keys not in (list(_LOW_LEVEL_ORDER), *([key] for key in _LOW_LEVEL_ORDER)):
        yield f"max_deeplab.auxiliary_low_level: {keys} must list each feature once, coarsest first, such as ['res3', 'res2']"
    for position, level in enumerate(fused):
        for field in ("feature_key", "channels_project"):
            if not level.HasField(field):
                yield f"max_deeplab.auxiliary_low_level[{position}].{field}: not set; the default is res3 to 64, res2 to 32"
    rates = list(model.decoder.atrous_rates)
    if len(rates) != 3:
        yield f"decoder.atrous_rates: {rates} must have three values, such as [6, 12, 18]"
    widths, blocks = list(model.pixel_decoder.channels), list(model.pixel_decoder.num_blocks)
    if len(widths) not in (4, 5):
        yield f"pixel_decoder.channels: {widths} must have four values (stride 32, 16, 8, 4) or five"
    if len(blocks) != len(widths):
        yield f"pixel_decoder.num_blocks: {blocks} must have as many values as channels, {len(widths)}"


def _training_problems(config: experiment_pb2.ExperimentOptions) -> Iterator[str]:
    trainer, batch = config.trainer_options, config.train_dataset_options.batch_size
    steps = trainer.accumulate_steps
    if config.HasField("train_dataset_options") and steps > 0 and batch % steps:
        yield f"train_dataset_options.batch_size: {batch} must be divisible by trainer_options.accumulate_steps, {steps}"
    solver = trainer.solver_options
    if solver.skip_nonfinite_steps and solver.optimizer != "adamw":
        yield f"trainer_options.solver_options.skip_nonfinite_steps: needs optimizer 'adamw', not {solver.optimizer!r}"
    if trainer.HasField("solver_options") and not solver.base_learning_rate:
        logging.warning("trainer_options.solver_options.base_learning_rate: it is 0, so nothing is learned")
    if trainer.HasField("solver_options") and not solver.backbone_learning_rate_multiplier:
        logging.warning(
            "trainer_options.solver_options.backbone_learning_rate_multiplier: it is 0, so the encoder stays as it is"
        )
    if trainer.HasField("solver_options") and solver.warmup_steps >= solver.training_number_of_steps > 0:
        logging.warning(
            "trainer_options.solver_options.warmup_steps: the warm-up of %d steps does not end in the %d training steps, so "
            "base_learning_rate is never reached",
            *(solver.warmup_steps, solver.training_number_of_steps),
        )


def _class_table_problems(train: DatasetInfo, evaluation: DatasetInfo) -> Iterator[str]:
    for what in ("label_divisor", "ignore_label"):
        if getattr(train, what) != getattr(evaluation, what):
            yield (
                f"eval_dataset_options.dataset: {evaluation.name} has {what} {getattr(evaluation, what)}, "
                f"train_dataset_options.dataset {train.name} has {getattr(train, what)}; they must be equal"
            )
    if difference := class_difference(train, evaluation):
        yield f"eval_dataset_options.dataset: the classes must be those of train_dataset_options.dataset: {difference}"
