"""Parses text format, with errors that name the file, line and field and suggest corrections."""

import re

from google.protobuf import descriptor, message, text_format

from protos import dataset_pb2, experiment_pb2
from protos.errors import ConfigError, nearest

_POOL = experiment_pb2.DESCRIPTOR.pool
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_UNKNOWN_ENUM_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')
_REPEATED_SCALAR = re.compile(r'should not have multiple "(\w+)" fields')
# Fields that DeepLab2 configs of other architectures set instead of max_deeplab.
_OTHER_ARCHITECTURES = ("deeplab_v3", "deeplab_v3_plus", "panoptic_deeplab", "motion_deeplab", "vip_deeplab")

_DESCRIPTION_FIELDS = dataset_pb2.DatasetDescription.DESCRIPTOR.fields_by_name


def parse_text(text: str, target: message.Message, source: str) -> None:
    """Parses `text` and merges it into `target`.

    Args:
      source: the file of the text; error messages start with it and the line.

    Raises:
      ConfigError: the text is not valid text format of the message's type.
    """
    try:
        text_format.Parse(text, target)
    except text_format.ParseError as error:
        line = error.GetLine()
        place = f"{source}:{line}" if line else source
        raise ConfigError(f"{place}: {explain(error, text)}") from None


def explain(error: text_format.ParseError, text: str) -> str:
    """Describes the error in `text` in one sentence, without its position."""
    reason = str(error)
    if found := _UNKNOWN_FIELD.search(reason):
        return unknown_field(_POOL.FindMessageTypeByName(found[1]), found[2])
    if found := _REPEATED_SCALAR.search(reason):
        return f"{found[1]} is set more than once, but takes only one value"
    if found := _UNKNOWN_ENUM_VALUE.search(reason):
        names = list(_POOL.FindEnumTypeByName(found[1]).values_by_name)
        problem = f"{found[2]} is not one of {', '.join(names)}{nearest(found[2].upper(), names)}"
    else:
        problem = re.sub(r"^\d+:\d+ : ('.*': )?", "", reason)
    field = _field_before(text, error.GetLine(), error.GetColumn())
    return f"{field}: {problem}" if field else problem


def unknown_field(owner: descriptor.Descriptor, name: str) -> str:
    """The error message for a field that `owner` does not have."""
    if name in _OTHER_ARCHITECTURES:
        hint = ": of the architectures in DeepLab2, this project supports kMaX-DeepLab (max_deeplab) only"
    elif owner is experiment_pb2.ExperimentOptions.DESCRIPTOR and name in _DESCRIPTION_FIELDS:
        hint = ": this file describes the classes of a dataset; give a config, such as config.textproto beside it"
    else:
        hint = nearest(name, owner.fields_by_name) or f"; its fields are {', '.join(owner.fields_by_name)}"
    return f'{owner.name} has no field "{name}"{hint}'


def _field_before(text: str, line: int | None, column: int | None) -> str:
    """Name of the field whose value starts at this position (line and column count from 1), or ""."""
    lines = text.splitlines()
    if not line or not column or line > len(lines):
        return ""
    found = re.search(r"(\w+)\s*:\s*(\[[^\]]*)?$", lines[line - 1][: column - 1])
    return found[1] if found else ""
