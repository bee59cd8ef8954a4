"""Applies overrides `a.b.c=value` from the command line to a config.

The value is written as in text format, except that strings need no quotes. `[a, b]` or a single value replaces all values of a
repeated field; `{field: value}` is merged into a message.
"""

import difflib
import json
import re
from collections.abc import Iterator, Sequence

from google.protobuf import descriptor, message, text_format

from protos.errors import ConfigError, nearest
from protos.parsing import explain, unknown_field

_ITEM = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]+)\s*(?:,|$)""")

# Fields of the same name that a message lists.
_MOST_ALIKE = 3


def apply_overrides(config: message.Message, overrides: Sequence[str]) -> None:
    """Applies overrides to `config` in the given order.

    Raises:
      ConfigError: an override has no `=`, an unknown path or a value of the wrong type; the message starts with the
        override.
    """
    for override in overrides:
        try:
            _apply(config, override)
        except ConfigError as error:
            raise ConfigError(f"override {override!r}: {error}") from None


def _apply(config: message.Message, override: str) -> None:
    path, equals, value = (part.strip() for part in override.partition("="))
    if not equals or not path:
        raise ConfigError("an override must have the form path.of.field=value")
    *parents, leaf = path.split(".")
    owner = config
    for name in parents:
        field = _field(config, owner, name, path)
        if field.message_type is None:
            raise ConfigError(f"{field.name} is a single value and has no fields")
        if _is_repeated(owner, field):
            raise ConfigError(f"{field.name} is a list of messages: override all of it with {field.name}=[{{...}}, {{...}}]")
        owner = getattr(owner, name)
    field = _field(config, owner, leaf, path)
    parsed = _parse_value(owner, field, value)
    is_message = field.message_type is not None and not _is_repeated(owner, field)
    if not is_message:
        owner.ClearField(leaf)
    owner.MergeFrom(parsed)
    if is_message:
        getattr(owner, leaf).SetInParent()


def _parse_value(owner: message.Message, field: descriptor.FieldDescriptor, value: str) -> message.Message:
    """A new message of the owner's type with only this field set."""
    parsed = type(owner)()
    text = f"{field.name}: {_quoted(value) if field.cpp_type == field.CPPTYPE_STRING else value}"
    try:
        text_format.Parse(text, parsed)
    except text_format.ParseError as error:
        raise ConfigError(explain(error, text)) from None
    others = [other.name for other, _ in parsed.ListFields() if other.name != field.name]
    if others:
        raise ConfigError(f"the value also sets {', '.join(others)}; write one override per field")
    return parsed


def _quoted(value: str) -> str:
    """The value of a string field, or of a list of strings, with missing quotes added."""
    if value.startswith("[") and value.endswith("]"):
        return f"[{', '.join(_quoted(item.strip()) for item in _ITEM.findall(value[1:-1]))}]"
    has_quotes = len(value) >= 2 and value[0] in "\"'" and value[-1] == value[0]
    return value if has_quotes else json.dumps(value, ensure_ascii=False)


def _field(config: message.Message, owner: message.Message, name: str, path: str) -> descriptor.FieldDescriptor:
    field = owner.DESCRIPTOR.fields_by_name.get(name)
    if field is not None:
        return field
    paths = {known: known.rpartition(".")[2] for known in _paths(config.DESCRIPTOR)}
    leaf = path.rpartition(".")[2]
    if "." not in path:
        leaf = next(iter(difflib.get_close_matches(path, set(paths.values()), n=1, cutoff=0.8)), path)
    elsewhere = [known for known, last in paths.items() if last == leaf]
    if elsewhere:
        # Of fields that several sections have, the one of training is meant most often.
        alike = sorted(elsewhere, key=lambda known: not known.startswith("train"))[:_MOST_ALIKE]
        meant = nearest(path, elsewhere, cutoff=0) if "." in path else f"; did you mean {' or '.join(map(json.dumps, alike))}?"
        raise ConfigError(f'{owner.DESCRIPTOR.name} has no field "{name}"{meant}')
    raise ConfigError(unknown_field(owner.DESCRIPTOR, name))


def _is_repeated(owner: message.Message, field: descriptor.FieldDescriptor) -> bool:
    # The attribute of the descriptor has different names in the supported protobuf versions; the value works in all of them.
    return hasattr(getattr(owner, field.name), "extend")


def _paths(owner: descriptor.Descriptor, prefix: str = "") -> Iterator[str]:
    for field in owner.fields:
        yield prefix + field.name
        if field.message_type is not None:
            yield from _paths(field.message_type, f"{prefix}{field.name}.")
