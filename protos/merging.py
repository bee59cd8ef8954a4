"""Merges messages field by field."""

from google.protobuf import message


def fill_unset(target: message.Message, defaults: message.Message) -> None:
    """Copies the fields that `target` does not set from `defaults`, a message of the same type.

    Submessages are merged field by field; a repeated field is copied as a whole if it is empty in `target`.
    """
    for field, value in defaults.ListFields():
        present = getattr(target, field.name)
        if hasattr(value, "extend"):
            if not present:
                present.MergeFrom(value)
        elif field.message_type is not None:
            present.SetInParent()
            fill_unset(present, value)
        elif not target.HasField(field.name):
            setattr(target, field.name, value)
