"""Loads configs: resolves a textproto, its bases and overrides into a complete, validated ExperimentOptions."""

import pathlib
import re
from collections.abc import Sequence

from absl import logging
from google.protobuf import text_format

from protos import dataset_pb2, descriptions, experiment_pb2
from protos.defaults import fill_defaults
from protos.descriptions import DatasetInfo
from protos.errors import ConfigError, UserError
from protos.inheritance import read_with_bases
from protos.input_sizes import per_side
from protos.overrides import apply_overrides
from protos.text_files import expand_home, usable_path
from protos.validation import check_model_defaults, check_required, dataset_sections, validate

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
# kmax_tf/configs is the folder configs, which wheels contain there.
_SHIPPED = pathlib.Path(__file__).resolve().parents[1] / "kmax_tf"


def load_config(path: str | pathlib.Path, overrides: Sequence[str] = ()) -> experiment_pb2.ExperimentOptions:
    """Reads an experiment config: parses it, merges its base, applies overrides, fills in defaults and validates.

    Args:
      path: a file in strict text format of ExperimentOptions. `configs/...`, if there is no such file, is a config that is
        installed with this project.
      overrides: `path.of.field=value`, see protos/overrides.py. Overriding only crop_size also lowers the resize values of the
        same section to it. Overriding one of file_pattern and source of train_dataset_options clears the other.

    Raises:
      ConfigError: the file, an override or a value is invalid.
    """
    path = _installed(usable_path(path))
    config, bases = read_with_bases(path)
    apply_overrides(config, overrides)
    overridden = [override.partition("=")[0].strip() for override in overrides]
    if "base" in overridden:
        raise ConfigError(f"{path}: base cannot be overridden; name another config file instead")
    _follow_crop_size(config, overridden)
    _use_overridden_records(config.train_dataset_options, overridden)
    source = f"{path} with base {', '.join(map(str, bases))}" if bases else str(path)
    source += f" with {', '.join(overrides)}" if overrides else ""
    resolve_config(config, source, path)
    return config


def resolve_config(config: experiment_pb2.ExperimentOptions, source: str, path: pathlib.Path) -> None:
    """Completes and validates a parsed config in place; resolving it again changes nothing.

    `source` is the prefix of error messages; relative paths of descriptions start at the folder of the config file `path`,
    whose stem is the default of experiment_name.

    Raises:
      ConfigError: a field is missing or has an invalid value.
    """
    try:
        _clean_names(config, source)
    except UserError as error:
        raise ConfigError(f"{source}: {error}") from None
    if not config.experiment_name:
        config.experiment_name = path.stem
    check_required(config, source)
    infos = [_find_dataset(section, options, source, path.parent) for section, options in dataset_sections(config)]
    fill_defaults(config, infos[0])
    validate(config, infos, source)


def dataset_info(config: experiment_pb2.ExperimentOptions) -> DatasetInfo:
    """The dataset that determines the model's classes: the training dataset, or else the evaluation dataset.

    Raises:
      ConfigError: the config names no dataset, or one that does not exist.
    """
    for _, options in dataset_sections(config):
        if options.dataset:
            return descriptions.load(options.dataset)
    raise ConfigError("neither train_dataset_options.dataset nor eval_dataset_options.dataset is set; set one of them")


def config_to_text(config: experiment_pb2.ExperimentOptions) -> str:
    """The config in the text format that `load_config` reads."""
    return text_format.MessageToString(config)


def _installed(path: pathlib.Path) -> pathlib.Path:
    shipped = _SHIPPED / path
    return shipped if path.parts[:1] == ("configs",) and not path.exists() and shipped.is_file() else path


def _clean_names(config: experiment_pb2.ExperimentOptions, source: str) -> None:
    """Clears names that are empty or a placeholder `${...}` of DeepLab2, and expands `~`; `find` does so for descriptions."""
    model = config.model_options
    files = [(model, "initial_checkpoint"), (model.backbone, "pretrained_weights")]
    for owner, field in [(config, "experiment_name"), *files]:
        value = getattr(owner, field)
        if _PLACEHOLDER.search(value):
            logging.info("%s: %s is the placeholder %s; treating it as empty", source, field, value)
        if not value or _PLACEHOLDER.search(value):
            owner.ClearField(field)
    for owner, field in [*files, (config.evaluator_options, "override_save_dir")]:
        if getattr(owner, field):
            setattr(owner, field, expand_home(getattr(owner, field)))
    for _, options in dataset_sections(config):
        for owner in (options, *options.source):
            owner.file_pattern[:] = [expand_home(pattern) for pattern in owner.file_pattern]


def _find_dataset(section: str, options: dataset_pb2.DatasetOptions, source: str, folder: pathlib.Path) -> DatasetInfo:
    try:
        found = descriptions.find(options.dataset, relative_to=folder)
        if found != descriptions.DESCRIPTIONS_DIR / f"{options.dataset}.textproto":
            options.dataset = str(found.resolve())
        info = descriptions.load(options.dataset)
        check_model_defaults(info, str(found))
        return info
    except ConfigError as error:
        raise ConfigError(f"{source}: {section}.dataset: {error}") from None


def _use_overridden_records(options: dataset_pb2.DatasetOptions, overridden: Sequence[str]) -> None:
    """Both file_pattern and source name records: the one overridden last clears the other, if it is not empty."""
    for path in reversed(overridden):
        for field, other in (("file_pattern", "source"), ("source", "file_pattern")):
            if path == f"train_dataset_options.{field}" and getattr(options, field):
                options.ClearField(other)
                return


def _follow_crop_size(config: experiment_pb2.ExperimentOptions, overridden: Sequence[str]) -> None:
    """Lowers resize values that exceed an overridden crop_size."""
    for section, options in dataset_sections(config):
        if f"{section}.crop_size" not in overridden or len(options.crop_size) != 2:
            continue
        for name in ("min_resize_value", "max_resize_value"):
            values = per_side(getattr(options, name))
            lowered = [min(value, side) for value, side in zip(values, options.crop_size)]
            if f"{section}.{name}" not in overridden and lowered != list(values):
                getattr(options, name)[:] = lowered
                logging.info("%s.%s follows the overridden crop_size: %s", section, name, lowered)
