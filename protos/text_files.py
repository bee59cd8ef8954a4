"""Paths and text files as users write them: `~` is the home directory; UTF-8 with or without a byte order mark."""

import os
import pathlib
import stat

from protos.errors import ConfigError, UserError

# The largest annotation file of a benchmark, that of COCO's training set, has a third of it.
LARGEST_FILE = 1 << 30


def read_text(path: pathlib.Path, error: type[UserError] = UserError) -> str:
    """The text of a file, without byte order mark, with line ends `\\n`.

    Raises:
      error: the file does not exist, cannot be read, is not UTF-8 or has more than LARGEST_FILE bytes.
    """
    return decode(read_bytes(path, error), str(path), error)


def read_bytes(path: pathlib.Path, error: type[UserError], *, if_missing: str = "") -> bytes:
    """The bytes of a file from an untrusted source.

    Raises:
      error: the file does not exist (the message ends with the advice `if_missing`), cannot be read or has more than
        LARGEST_FILE bytes.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            # Devices and pipes have no size.
            data = b"" if state.st_size > LARGEST_FILE else file.read(-1 if stat.S_ISREG(state.st_mode) else LARGEST_FILE + 1)
    except FileNotFoundError:
        raise error(f"{path}: no such file{if_missing}") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}): check the file and its permissions") from None
    except ValueError as problem:  # a name that no file can have
        raise error(f"{os.fspath(path)!r}: cannot be read ({problem}): correct the name") from None
    if max(state.st_size, len(data)) > LARGEST_FILE:
        raise error(
            f"{path}: has more than {LARGEST_FILE >> 20} MB, which are not read into memory: split it into several files"
        )
    return data


def decode(data: bytes, source: str, error: type[UserError] = UserError) -> str:
    """The text of the bytes of a file, whose name `source` opens the message of an error; otherwise as read_text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        # The codec counts from the end of the mark.
        offset = problem.start + len(data) - len(problem.object)
        byte = problem.object[problem.start]
        raise error(f"{source}: is not UTF-8 text (byte 0x{byte:02x} at offset {offset}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def expand_home(path: str) -> str:
    """Replaces a leading `~` or `~user` by that home directory; leaves other paths, URLs and "" unchanged.

    Shells expand `~` only at the start of a word, not after `--flag=`.

    Raises:
      UserError: there is no such user, or the path is invalid.
    """
    try:
        expanded = os.path.expanduser(path)
    except ValueError as problem:
        raise UserError(f"{path!r}: is not a path ({problem}): correct it") from None
    if expanded.startswith("~"):
        raise UserError(
            f"{path}: the home directory of {path.partition('/')[0]} is unknown; write the full path, or ./{path} for a "
            "folder with this name"
        )
    return expanded


def usable_path(text: str | os.PathLike[str], folder: pathlib.Path = pathlib.Path()) -> pathlib.Path:
    """The path of a file that need not exist; a relative one starts at `folder`.

    Raises:
      ConfigError: no file can have this name, its links lead in a circle, or it is in the home directory of an unknown user.
    """
    try:
        path = folder / expand_home(os.fspath(text))
        os.stat(path)
    except UserError as problem:
        raise ConfigError(str(problem)) from None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ConfigError(f"{os.fspath(text)!r}: cannot be the path of a file ({reason}): correct it") from None
    return path
