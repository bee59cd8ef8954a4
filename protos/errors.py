"""Errors that a user can fix, and phrases of their messages."""

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """An error that a user can fix: the message names the file, field or record, what is wrong and what to do.

    Commands print the message and exit with code 1; any other exception is a bug in the program.
    """


class ConfigError(UserError):
    """A config or dataset description is invalid; the message names the file and the field."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The phrase `; did you mean ...?` with the most similar known name, or "" if none has a similarity of `cutoff` (0..1)."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f'; did you mean "{found[0]}"?' if found else ""


def one_line(text: object) -> str:
    """The text of an error or another value, with single spaces in the place of line breaks and other white space."""
    return " ".join(str(text).split())


def few(values: Sequence[object], limit: int = 5) -> str:
    """The first `limit` values and the number of the rest."""
    return ", ".join(map(str, values[:limit])) + (f" and {len(values) - limit} more" if len(values) > limit else "")


def first_line(error: Exception | str) -> str:
    """The first line of an error message, since those of TensorFlow can be pages long."""
    return str(error).strip().split("\n", 1)[0][:300]
