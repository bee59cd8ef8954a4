"""Paths as users write them, in flags and in configs."""

import os

from protos.errors import UserError


def expand_home(path: str) -> str:
    """`path` with a leading `~` or `~user` replaced by that home directory; other paths, URLs and "" as they are.

    Shells expand `~` at the start of a word only, not after `--flag=`.

    Raises:
      UserError: there is no such user.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(
            f"{path}: the home directory of {path.partition('/')[0]} is unknown; write the whole path, or ./{path} for a "
            "folder of this name"
        )
    return expanded
