"""Paths as users write them, in flags and in configs."""

import os

from protos.errors import UserError


def expand_home(path: str) -> str:
    """Replaces a leading `~` or `~user` by that home directory; leaves other paths, URLs and "" unchanged.

    Shells expand `~` only at the start of a word, not after `--flag=`.

    Raises:
      UserError: there is no such user.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(
            f"{path}: the home directory of {path.partition('/')[0]} is unknown; write the full path, or ./{path} for a "
            "folder with this name"
        )
    return expanded
