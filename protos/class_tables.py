"""Compares the classes of two descriptions."""

from protos.descriptions import ClassInfo, DatasetInfo

_MOST_LISTED = 20


def class_difference(ours: DatasetInfo, theirs: DatasetInfo) -> str | None:
    """What differs between the classes of two descriptions in id, name, or whether they are things; None if nothing does.

    Colors, category ids, and the names of the datasets do not count. The text names the first difference and lists the
    classes of both.
    """
    for mine, other in zip(ours.classes, theirs.classes):
        if _shown(mine) != _shown(other):
            return f"class {_shown(mine)} of {ours.name} is {_shown(other)} in {theirs.name}; {_both(ours, theirs)}"
    if len(ours.classes) == len(theirs.classes):
        return None
    longer, shorter = sorted((ours, theirs), key=lambda info: -len(info.classes))
    first = longer.classes[len(shorter.classes)]
    return f"class {_shown(first)} of {longer.name} is not in {shorter.name}; {_both(ours, theirs)}"


def _both(ours: DatasetInfo, theirs: DatasetInfo) -> str:
    return "; ".join(f"{info.name} has {len(info.classes)} classes: {_listed(info.classes)}" for info in (ours, theirs))


def _listed(classes: tuple[ClassInfo, ...]) -> str:
    more = f" and {len(classes) - _MOST_LISTED} more" if len(classes) > _MOST_LISTED else ""
    return ", ".join(_shown(c) for c in classes[:_MOST_LISTED]) + more


def _shown(entry: ClassInfo) -> str:
    return f"{entry.id} {entry.name} ({'thing' if entry.is_thing else 'stuff'})"
