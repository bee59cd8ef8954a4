"""Reads every record of a section like training does, and collects the problems."""

import concurrent.futures
import dataclasses
import os

import numpy as np
import tensorflow as tf

from data.input.example_reader import ExampleReader
from data.inspection.image_facts import ImageFacts, image_facts
from data.inspection.section_counts import SectionCounts
from data.records import record_classes, record_index
from data.records.input_problems import InputProblems
from data.records.record_index import RecordIndex
from data.records.schema import DataError
from kmax_tf.cli.progress import Progress
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

_CHUNK = 16


class ProblemList(InputProblems):
    """Collects the errors that the pipeline would raise or log."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.messages: list[str] = []

    def bad_example(self, problem: str) -> None:
        """Adds a problem as one line."""
        with self._lock:
            self.messages.append(" ".join(problem.split()))

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts instances that became void."""
        with self._lock:
            self._dropped += count


@dataclasses.dataclass(frozen=True)
class Section:
    """The records of one section.

    `name` is train or eval, `source_sizes` the number of records of each source, `damage` describes damaged files.
    """

    name: str
    options: dataset_pb2.DatasetOptions
    info: DatasetInfo
    index: RecordIndex
    source_sizes: tuple[int, ...]
    damage: tuple[str, ...]

    @property
    def has_labels(self) -> bool:
        return self.options.decode_groundtruth_label

    @property
    def file_bytes(self) -> int:
        """Size of all files."""
        return sum(tf.io.gfile.stat(path).length for path in dict.fromkeys(self.index.files))


@dataclasses.dataclass(frozen=True)
class Scan:
    """Results of reading `checked` records; `problems` lists damaged files, then unusable records."""

    section: Section
    counts: SectionCounts
    checked: int
    problems: list[str]

    @property
    def is_complete(self) -> bool:
        return self.checked == len(self.section.index)


def open_section(name: str, options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> Section:
    """Finds the records of a section, in damaged files those before the damage.

    Raises:
      DataError: a pattern matches no file, or there are no records.
    """
    found = ProblemList()
    try:
        index, sizes = record_index.open_sources(options, made_by=info.converter, problems=found)
        record_classes.check(index.files, info)
    except DataError as error:
        raise DataError(f"{name}_dataset_options: {'; '.join([*found.messages, str(error)])}") from None
    return Section(name, options, info, index, tuple(sizes), tuple(found.messages))


def scan(section: Section, max_records: int | None = None) -> Scan:
    """Reads records in one thread per processor, with progress on stderr; `max_records` evenly spaced ones, or all."""
    total = len(section.index)
    if max_records is not None and max_records < total:
        numbers = np.linspace(0, total - 1, max_records).round().astype(int)
    else:
        numbers = np.arange(total)
    counts, problems = SectionCounts(section.info), list(section.damage)
    progress, done = Progress(section.name, "records checked", len(numbers)), 0
    chunks = [numbers[k : k + _CHUNK].tolist() for k in range(0, len(numbers), _CHUNK)]
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        for chunk, (facts, messages) in zip(chunks, pool.map(lambda chunk: _read(section, chunk), chunks)):
            for image in facts:
                counts.add(image)
            problems += messages
            done += len(chunk)
            progress.update(done)
    finally:
        pool.shutdown(cancel_futures=True)
    return Scan(section, counts, len(numbers), problems)


def _read(section: Section, numbers: list[int]) -> tuple[list[ImageFacts], list[str]]:
    """Facts of the usable records, and the problems of the others."""
    problems = ProblemList()
    reader = ExampleReader(section.index, section.info, problems, with_label=section.has_labels)
    examples = (reader.read(number) for number in numbers)
    return [image_facts(example, section.info) for example in examples if example is not None], problems.messages
