"""Descriptions of datasets: their classes, which of these are things, and how labels are encoded.

A description is a text file (`protos/dataset.proto`, message DatasetDescription), so that a new dataset needs no code.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

from google.protobuf import text_format

from protos import dataset_pb2, model_pb2, text_files
from protos.errors import ConfigError, few, nearest
from protos.parsing import parse_text

# The input pipeline encodes class ids in 15 bits.
_LARGEST_ID = 32767
_LARGEST_LABEL = (1 << 31) - 1
DESCRIPTIONS_DIR = pathlib.Path(__file__).resolve().parents[1] / "data" / "descriptions"
DEFAULT_CONVERTER = dataset_pb2.DatasetDescription().converter
_MOST_LISTED = 20


@dataclasses.dataclass(frozen=True)
class ClassInfo:
    """One class. `category_id` is its id in the dataset's own JSON, `color` is RGB, 0..255."""

    id: int
    name: str
    is_thing: bool
    category_id: int
    color: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The classes of a dataset and the encoding of its labels.

    A panoptic label is `class id * label_divisor + instance id`; unlabeled pixels have class id `ignore_label`. Classes have
    two orders: semantic maps hold class ids, while class logits are ordered things, stuff, void.

    `model_defaults` applies to fields that a config leaves unset; `converter` is the command that builds the records.
    """

    name: str
    label_divisor: int
    ignore_label: int
    classes: tuple[ClassInfo, ...]
    model_defaults: model_pb2.ModelOptions = dataclasses.field(default_factory=model_pb2.ModelOptions, hash=False)
    converter: str = DEFAULT_CONVERTER

    @property
    def num_ids(self) -> int:
        """Channels of a semantic map: ids 0 .. num_ids - 1 (COCO 134, Cityscapes 19, ADE20K 151)."""
        return 1 + max(c.id for c in self.classes)

    @property
    def num_classes(self) -> int:
        """Number of classes without void; the class logits have one more channel."""
        return len(self.classes)

    @property
    def thing_ids(self) -> tuple[int, ...]:
        return tuple(c.id for c in self.classes if c.is_thing)

    @property
    def stuff_ids(self) -> tuple[int, ...]:
        return tuple(c.id for c in self.classes if not c.is_thing)

    @property
    def class_order(self) -> tuple[int, ...]:
        """Class id of each channel of the class logits, except void."""
        return self.thing_ids + self.stuff_ids

    @property
    def void_label(self) -> int:
        """Panoptic label of pixels without a class."""
        return self.ignore_label * self.label_divisor

    def by_category(self) -> dict[int, ClassInfo]:
        """Classes by their id in the dataset's own JSON."""
        return {c.category_id: c for c in self.classes}

    def by_id(self) -> dict[int, ClassInfo]:
        return {c.id: c for c in self.classes}


def default_color(class_id: int) -> tuple[int, int, int]:
    """A color derived from the bits of a class id, as in the PASCAL VOC palette; RGB, 0..255."""
    red, green, blue = (sum((class_id >> (3 * bit + c) & 1) << (7 - bit) for bit in range(8)) for c in range(3))
    return red, green, blue


def from_text(text: str, source: str) -> DatasetInfo:
    """Parses and validates the text of a description; every ConfigError message starts with `source` (its file)."""
    proto = dataset_pb2.DatasetDescription()
    parse_text(text, proto, source)
    categories = [c.category_id if c.HasField("category_id") else c.id for c in proto.classes]
    problem = next(_problems(proto, categories), None)
    if problem:
        raise ConfigError(f"{source}: {problem}")
    classes = tuple(
        ClassInfo(c.id, c.name, c.is_thing, category, tuple(c.color) or default_color(c.id))
        for c, category in zip(proto.classes, categories)
    )
    divisor, converter = proto.panoptic_label_divisor, proto.converter or DEFAULT_CONVERTER
    return DatasetInfo(proto.name, divisor, proto.ignore_label, classes, proto.model_defaults, converter)


def _problems(proto: dataset_pb2.DatasetDescription, categories: list[int]) -> Iterator[str]:
    yield from (f"{f} is not set" for f in ("name", "panoptic_label_divisor", "ignore_label") if not proto.HasField(f))
    if not proto.classes:
        yield "classes is empty; list at least one class"
    for position, entry in enumerate(proto.classes):
        yield from (f"classes[{position}].{f} is not set" for f in ("id", "name", "is_thing") if not entry.HasField(f))
        if entry.color and (len(entry.color) != 3 or not all(0 <= c <= 255 for c in entry.color)):
            yield f"classes[{position}].color must be three numbers from 0 to 255, not {list(entry.color)}"
    ignored, first = proto.ignore_label, 1 if proto.ignore_label == 0 else 0
    for position, entry in enumerate(proto.classes):
        if entry.id != first + position:
            yield (
                f"classes[{position}].id is {entry.id}, expected {first + position}: ids must be consecutive and start at "
                f"{first} because ignore_label is {ignored}"
            )
    if ignored != 0 and ignored < len(proto.classes):
        yield f"ignore_label {ignored} is also a class id; use 0 (with class ids from 1) or 255"
    if ignored > _LARGEST_ID or len(proto.classes) > _LARGEST_ID:
        yield f"ignore_label {ignored} and all class ids must be at most {_LARGEST_ID}; 0 and 255 are usual"
    largest = (max(ignored, len(proto.classes)) + 1) * proto.panoptic_label_divisor - 1
    if largest > _LARGEST_LABEL:
        yield (
            f"panoptic_label_divisor {proto.panoptic_label_divisor} gives panoptic ids up to {largest}, which do not fit into "
            "32 bits; use a smaller one, such as 256 or 1000"
        )
    if proto.panoptic_label_divisor < 2:
        yield f"panoptic_label_divisor must be at least 2, not {proto.panoptic_label_divisor}"
    twice = sorted({c for c in categories if categories.count(c) > 1})
    if twice:
        yield f"category_id {twice} is used by more than one class; every class needs its own"


def to_text(info: DatasetInfo) -> str:
    """The description in the text format of its file."""
    proto = dataset_pb2.DatasetDescription(
        name=info.name, panoptic_label_divisor=info.label_divisor, ignore_label=info.ignore_label
    )
    if info.model_defaults.ListFields():
        proto.model_defaults.CopyFrom(info.model_defaults)
    if info.converter != DEFAULT_CONVERTER:
        proto.converter = info.converter
    for c in info.classes:
        proto.classes.add(id=c.id, name=c.name, is_thing=c.is_thing, category_id=c.category_id, color=c.color)
    return text_format.MessageToString(proto, as_utf8=True)


def find(dataset: str, relative_to: pathlib.Path | None = None) -> pathlib.Path:
    """The file of a description that a config gives as a name in data/descriptions or as a path.

    Raises:
      ConfigError: there is no such description; the message lists the known names.
    """
    folders = [pathlib.Path()] if relative_to is None else [relative_to, pathlib.Path()]
    candidates = [text_files.usable_path(dataset, folder) for folder in folders]
    shipped = text_files.usable_path(f"{dataset}.textproto", DESCRIPTIONS_DIR)
    if shipped.is_file():
        return shipped
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    known = sorted(p.stem for p in DESCRIPTIONS_DIR.glob("*.textproto"))
    beside = [str(path) for candidate in candidates for path in sorted(candidate.parent.glob("*.textproto"))]
    meant = nearest(str(candidates[0]), [path for path in beside if pathlib.Path(path).name != "config.textproto"])
    raise ConfigError(
        f"dataset {dataset!r} is neither a description in {DESCRIPTIONS_DIR} ({', '.join(known)}) nor a file (looked for "
        f"{' and '.join(str(candidate.absolute()) for candidate in candidates)}){nearest(dataset, known) or meant}"
    )


def load(dataset: str | pathlib.Path) -> DatasetInfo:
    """The description with this name or path.

    Raises:
      ConfigError: the file does not exist, cannot be parsed or is inconsistent.
    """
    return _load_file(find(str(dataset)))


@functools.cache
def _load_file(path: pathlib.Path) -> DatasetInfo:
    return from_text(text_files.read_text(path, ConfigError), str(path))


def class_difference(ours: DatasetInfo, theirs: DatasetInfo) -> str | None:
    """What differs between the classes of two descriptions in id, name, or whether they are things; None if nothing does.

    Colors, category ids, and the names of the datasets do not count. The text names the first difference and lists the
    classes of both.
    """
    for mine, other in zip(ours.classes, theirs.classes):
        if _shown(mine) != _shown(other):
            return f"class {_shown(mine)} of {ours.name} is {_shown(other)} in {theirs.name}; {_both(ours, theirs)}"
    shorter, longer = sorted((ours, theirs), key=lambda info: len(info.classes))
    if len(longer.classes) == len(shorter.classes):
        return None
    first = longer.classes[len(shorter.classes)]
    return f"class {_shown(first)} of {longer.name} is not in {shorter.name}; {_both(ours, theirs)}"


def _both(ours: DatasetInfo, theirs: DatasetInfo) -> str:
    texts = (f"{i.name} has {len(i.classes)} classes: {few([*map(_shown, i.classes)], _MOST_LISTED)}" for i in (ours, theirs))
    return "; ".join(texts)


def _shown(entry: ClassInfo) -> str:
    return f"{entry.id} {entry.name} ({'thing' if entry.is_thing else 'stuff'})"
