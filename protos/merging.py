"""Merging of messages where the values of one come before those of another, field by field."""

from google.protobuf import message


def fill_unset(target: message.Message, defaults: message.Message) -> None:
    """Takes from `defaults` what `target`, a message of the same type, does not set.

    Messages are filled field by field; a repeated field is taken as a whole where the target has no value of it.
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
