"""Reads and checks single records on the host; errors name the file, the number of the record and the image."""

import functools

from data.records import schema
from data.records.record_index import ChecksumError, RecordIndex
from data.records.schema import DataError, Record
from protos.descriptions import DatasetInfo

_UNKNOWN = "name unknown"
# Descriptions and names of records in memory.
_CACHED = 1000


class ExampleReader:
    """The records of an index, decoded and checked by the graph that the input pipeline runs."""

    def __init__(self, index: RecordIndex, info: DatasetInfo, *, with_label: bool = True) -> None:
        self._index = index
        self._info = info
        self._with_label = with_label
        # The same records are drawn again and again.
        self.problem = functools.lru_cache(_CACHED)(self._problem)
        self.name = functools.lru_cache(_CACHED)(self._name)

    def __len__(self) -> int:
        return len(self._index)

    def read(self, number: int) -> Record:
        """Reads example `number`.

        Raises:
          DataError: the example is bad; the message is `<file> record <n> (<image name>): <what is wrong>`.
        """
        try:
            return schema.decode_record(self._index.read(number), with_label=self._with_label, info=self._info)
        except DataError as error:
            raise DataError(f"{self._index.describe(number)} ({self.name(number)}): {error}") from None

    def _problem(self, number: int) -> str | None:
        """The message of the error that `read` raises; None if the example is usable."""
        try:
            self.read(number)
        except DataError as error:
            return str(error)
        return None

    def _name(self, number: int) -> str:
        """The name of the image of an example, as far as it can be read."""
        try:
            return schema.image_name(schema.parse_features(self._bytes(number)))
        except DataError:
            return _UNKNOWN

    def _bytes(self, number: int) -> bytes:
        """The bytes of an example, also those that fail their checksum."""
        try:
            return self._index.read(number)
        except ChecksumError as error:
            return error.data
