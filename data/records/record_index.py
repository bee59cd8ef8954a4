"""Random access to the records of a set of TFRecord files."""

import concurrent.futures
import dataclasses
import functools
import os
import struct
import threading
from collections.abc import Callable, Sequence

import google_crc32c
import numpy as np
import tensorflow as tf

from data.records import record_classes
from data.records.input_problems import InputProblems
from data.records.schema import DataError
from kmax_tf.files.patterns import matching_files
from protos import dataset_pb2
from protos.errors import one_line

# Layout: uint64 length, uint32 masked CRC of the length, data, uint32 masked CRC of the data.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
HEADER_BYTES, FOOTER_BYTES = _HEADER.size, _FOOTER.size
# An image of pngs.MOST_PIXELS and its label take less, even without compression.
MOST_RECORD_BYTES = 1 << 29
_SCAN_THREADS = 16
# Files whose records are remembered: a process opens the same ones for every device, and again after an error.
_SCANS = 4096

# Offset and length of each record of a file before any damage, int64 [n, 2], and the description of the damage.
_Scan = tuple[np.ndarray, str]


class ChecksumError(DataError):
    """A record whose bytes `data` have changed since it was written."""

    def __init__(self, data: bytes) -> None:
        super().__init__(
            "its checksum is wrong, so its bytes have changed since it was written: copy or convert this file again"
        )
        self.data = data


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The records in the order of their files' names.

    `file_numbers`, `offsets` (of the data, in bytes), `lengths` (in bytes) and `numbers` (position in the file, from 0) are
    int64 [num_records].
    """

    files: tuple[str, ...]
    file_numbers: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    numbers: np.ndarray
    # Less than the usual limit of 1024 open files per process.
    _opened: Callable[[str], "_LocalFile | _RemoteFile"] = dataclasses.field(
        default_factory=lambda: functools.lru_cache(maxsize=256)(_open)
    )

    def __len__(self) -> int:
        return len(self.offsets)

    def describe(self, index: int) -> str:
        """`<file> record <n>`, for messages."""
        return f"{self.files[self.file_numbers[index]]} record {self.numbers[index]}"

    def read(self, index: int) -> bytes:
        """Reads a serialized example.

        Raises:
          ChecksumError: its bytes have changed since it was written.
          DataError: the file was truncated since it was indexed, or can no longer be read.
        """
        path, length = self.files[self.file_numbers[index]], int(self.lengths[index])
        try:
            data = self._opened(path).read_at(int(self.offsets[index]), length + _FOOTER.size)
        except (OSError, tf.errors.OpError) as error:
            raise DataError(f"cannot be read: {one_line(error)}") from None
        if len(data) != length + _FOOTER.size:
            raise DataError(f"has only {len(data)} of {length + _FOOTER.size} bytes: the file was changed while it was in use")
        data, footer = data[:length], data[length:]
        if _FOOTER.unpack(footer) != (_masked_crc(data),):
            raise ChecksumError(data)
        return data


def find_files(patterns: Sequence[str], made_by: str) -> list[str]:
    """The files that match the patterns, sorted; `made_by` is the command that creates such files, for messages.

    Raises:
      DataError: a pattern matches nothing, or nothing but notes of a conversion.
    """
    found = {path for pattern in patterns for path in _matches(pattern, made_by)}
    files = sorted(path for path in found if not record_classes.is_note(path))
    if found and not files:
        raise DataError(
            f"file_pattern {', '.join(patterns)} matches only notes of a conversion and no records: create them with {made_by}"
        )
    if not files:
        raise DataError(f"file_pattern is empty: set it to the TFRecord files, which {made_by} creates")
    return files


def source_patterns(options: dataset_pb2.DatasetOptions) -> list[list[str]]:
    """The file patterns of each source; without sources, file_pattern is the only one."""
    return [list(source.file_pattern) for source in options.source] or [list(options.file_pattern)]


def open_sources(
    options: dataset_pb2.DatasetOptions, *, made_by: str, problems: InputProblems | None = None
) -> tuple[RecordIndex, list[int]]:
    """Scans the headers of the records of all sources; single files may be empty.

    Args:
      options: the sources, with globs of TFRecord files.
      made_by: command that creates such files, for error messages.
      problems: if it skips, a damaged file counts as one bad example, and its records before the damage are used.

    Returns:
      One index of all records, and the number of records of each source.

    Raises:
      DataError: a pattern matches nothing, a file is truncated or not a TFRecord file, or a source has no records.
    """
    sources = [_scan_files(patterns, made_by, problems) for patterns in source_patterns(options)]
    files = [file for source in sources for file in source]
    counts = [len(records) for _, records in files]
    offsets, lengths = np.concatenate([records for _, records in files]).T
    index = RecordIndex(
        files=tuple(path for path, _ in files),
        file_numbers=np.repeat(np.arange(len(files)), counts),
        offsets=offsets,
        lengths=lengths,
        numbers=np.concatenate([np.arange(count) for count in counts]),
    )
    return index, [sum(len(records) for _, records in source) for source in sources]


def _scan_files(patterns: Sequence[str], made_by: str, problems: InputProblems | None) -> list[tuple[str, np.ndarray]]:
    """The files of one source, with offset and length of each record, int64 [n, 2]."""
    files = find_files(patterns, made_by)
    with concurrent.futures.ThreadPoolExecutor(_SCAN_THREADS) as pool:
        scans = list(pool.map(_scan, files))
    for damage in (damage for _, damage in scans if damage):
        if problems is None or not problems.skip:
            raise DataError(damage)
        problems.bad_example(damage)
    if not any(len(records) for records, _ in scans):
        raise DataError(
            f"file_pattern {', '.join(patterns)} matches {len(files)} files without records: create them with {made_by}"
        )
    return [(path, records) for path, (records, _) in zip(files, scans)]


def _matches(pattern: str, made_by: str) -> list[str]:
    try:
        found = matching_files(pattern)
    except (OSError, tf.errors.OpError) as error:
        raise DataError(f"file_pattern {pattern!r} cannot be searched: {one_line(error)}") from None
    if not found:
        where = "" if os.path.isabs(pattern) or "://" in pattern else f" in {os.getcwd()}"
        raise DataError(f"file_pattern {pattern!r} matches no file{where}: correct it, or create the records with {made_by}")
    return found


def _scan(path: str) -> _Scan:
    try:
        found = tf.io.gfile.stat(path)
        return _scan_once(path, found.length, found.mtime_nsec)
    except (OSError, tf.errors.OpError) as error:
        return np.zeros((0, 2), np.int64), f"{path} cannot be read: {one_line(error)}"


@functools.lru_cache(_SCANS)
def _scan_once(path: str, size: int, changed: int) -> _Scan:
    """_scan of a file that was changed last at the time `changed` (ns)."""
    records: list[tuple[int, int]] = []
    damage = _walk(path, records)
    return np.array(records, np.int64).reshape(-1, 2), damage


def _walk(path: str, records: list[tuple[int, int]]) -> str:
    """Appends offset and length of each record before any damage, which it returns."""
    file, position = _open(path), 0
    while position < file.size:
        header = file.read_at(position, _HEADER.size)
        if len(header) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            if _masked_crc(header[:8]) != checksum:
                return (
                    f"{path}: record {len(records)} (byte {position}) does not start with a TFRecord header: "
                    "the file is damaged, compressed or not a TFRecord file; create or copy it again"
                )
            end = position + _HEADER.size + length + _FOOTER.size
            if end <= file.size and length > MOST_RECORD_BYTES:
                return (
                    f"{path}: record {len(records)} (byte {position}) has {length} bytes, more than the "
                    f"{MOST_RECORD_BYTES} that are read: it is no record of an image; create the file again"
                )
        if len(header) < _HEADER.size or end > file.size:
            return f"{path} is truncated in record {len(records)} (byte {position} of {file.size}): copy or convert it again"
        records.append((position + _HEADER.size, length))
        position = end
    return ""


class _LocalFile:
    """Reads from one descriptor in many threads without a lock."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class _RemoteFile:
    """Reads through TensorFlow's file systems (gs://, ...)."""

    def __init__(self, path: str) -> None:
        self.size = tf.io.gfile.stat(path).length
        self._file = tf.io.gfile.GFile(path, "rb")
        self._lock = threading.Lock()

    def read_at(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


def _open(path: str) -> _LocalFile | _RemoteFile:
    return _RemoteFile(path) if "://" in path else _LocalFile(path)


def _masked_crc(data: bytes) -> int:
    """CRC-32C in the masked form of TFRecord files."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
