"""Compares the classes of two datasets."""

from protos.descriptions import DatasetInfo

_SHOWN = 6


def class_difference(ours: DatasetInfo, theirs: DatasetInfo) -> str | None:
    """Describes how two class tables differ, as a phrase with both lists of names; None if they are the same.

    Compares ids, names, kinds (thing or stuff) and order; ignores dataset names, colors and category ids.
    """
    rows = [[(c.id, c.name, c.is_thing) for c in info.classes] for info in (ours, theirs)]
    if rows[0] == rows[1]:
        return None
    position = next((i for i, (a, b) in enumerate(zip(*rows)) if a != b), min(map(len, rows)))
    first = [_row(table[position]) if position < len(table) else "none" for table in rows]
    return (
        f"{len(rows[1])} classes ({_names(theirs)}) instead of {len(rows[0])} ({_names(ours)}); the first difference is at "
        f"position {position}: {first[1]} instead of {first[0]}"
    )


def _names(info: DatasetInfo) -> str:
    rest = f", ... {len(info.classes) - _SHOWN} more" if len(info.classes) > _SHOWN else ""
    return ", ".join(c.name for c in info.classes[:_SHOWN]) + rest


def _row(row: tuple[int, str, bool]) -> str:
    class_id, name, is_thing = row
    return f"{name!r} (id {class_id}, {'thing' if is_thing else 'stuff'})"
