"""What the model sees of a section: the images and targets that the input pipeline yields."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from data.input import augmentation, pipeline
from data.inspection.scan import ProblemList, Section
from data.records.schema import DataError
from kmax_tf.tensor_keys import SEMANTIC_GT, THING_CLASS_GT, THING_MASK_GT
from protos.descriptions import DatasetInfo

# Number of augmented training images for the statistics.
_DRAWN = 128


@dataclasses.dataclass(frozen=True)
class Sample:
    """One input: `image` uint8 [h, w, 3], the `panoptic` map of its targets, int64 [h, w], and the lines of its `caption`.

    Instances are numbered from 1; `panoptic` is None without labels.
    """

    image: np.ndarray
    panoptic: np.ndarray | None
    caption: tuple[str, ...]


@dataclasses.dataclass
class ModelView:
    """`samples` to draw, and statistics of `images` inputs.

    `void` and `padding` are sums of the shares of pixels (0..1 per image), `instances` are the numbers of instances per image,
    and `dropped` counts the instances that became void because of max_thing_id.
    """

    samples: list[Sample] = dataclasses.field(default_factory=list)
    images: int = 0
    void: float = 0.0
    padding: float = 0.0
    instances: list[int] = dataclasses.field(default_factory=list)
    dropped: int = 0


def view_section(section: Section, *, num_samples: int, seed: int) -> ModelView:
    """Reads augmented training images, or the first images of the evaluation; bad ones are skipped.

    Args:
      section: the records.
      num_samples: number of images to keep as samples.
      seed: seed of order and augmentation, as trainer_options.seed.

    Raises:
      ConfigError: an option is invalid.
    """
    problems = ProblemList()
    options, info = section.options, section.info
    if section.name == "train":
        dataset = pipeline.training_dataset(options, info, seed=seed, batch_size=1, problems=problems, with_draws=True)
        count = max(num_samples, _DRAWN)
    else:
        dataset = pipeline.evaluation_dataset(options, info, batch_size=1, problems=problems)
        count = num_samples
    view = ModelView()
    for example in _usable(problems, dataset.take(count)):
        _add(view, example, info, keep=len(view.samples) < num_samples)
    view.dropped = problems.dropped_instances
    return view


def _usable(problems: ProblemList, dataset: tf.data.Dataset) -> Iterator[Mapping[str, np.ndarray]]:
    """Yields the examples until no usable one is left."""
    try:
        for batch in problems.batches(dataset):
            yield {key: value[0] for key, value in batch.items()}
    except DataError:
        return


def _add(view: ModelView, example: Mapping[str, np.ndarray], info: DatasetInfo, *, keep: bool) -> None:
    is_padding = (example["image"] == augmentation.PADDING_VALUE).all(-1)
    panoptic = None
    view.images += 1
    view.padding += float(is_padding.mean())
    facts: list[str] = []
    if SEMANTIC_GT in example:
        panoptic = target_panoptic(example, info)
        void = float((example[SEMANTIC_GT] == info.ignore_label).mean())
        instances = int(example[THING_MASK_GT].max()) + 1
        view.void += void
        view.instances.append(instances)
        facts = [f"{instances} instances, {void:.0%} unlabeled"]
    if keep:
        image = np.rint(example["image"]).clip(0, 255).astype(np.uint8)
        view.samples.append(Sample(image, panoptic, tuple([*_origin(example), *facts])))


def target_panoptic(example: Mapping[str, np.ndarray], info: DatasetInfo) -> np.ndarray:
    """The panoptic map that the targets of one image describe.

    Args:
      example: `semantic_gt` and `thing_id_mask_gt` [h, w], `thing_id_class_gt` [max_thing_id], see data/input/targets.py.
      info: the classes and the encoding.

    Raises:
      DataError: the targets disagree about the class of an instance.
    """
    number, semantic = example[THING_MASK_GT], example[SEMANTIC_GT].astype(np.int64)
    classes = np.where(number >= 0, example[THING_CLASS_GT][number], semantic)
    if (classes != semantic).any():
        raise DataError(f"{example['image_name'].decode(errors='replace')}: its targets assign two classes to one instance")
    return classes * info.label_divisor + number + 1


def _origin(example: Mapping[str, np.ndarray]) -> Iterable[str]:
    """Caption lines: the name of an image and its transformations."""
    yield _text(example["image_name"])
    if "draws" not in example:
        (raw_height, raw_width), (height, width) = example["raw_size"], example["resized_size"]
        yield f"{raw_width}x{raw_height} resized to {width}x{height}"
        return
    yield _draw(example["draws"][0])
    if len(example["draws"]) > 1:
        yield f"pasted: {_text(example['pasted_name'])}, {_draw(example['draws'][1])}"


def _draw(values: np.ndarray) -> str:
    scale, row, column, flipped = values
    return f"scale {scale:.2f}, crop at x {column:.0f}, y {row:.0f}{', flipped' if flipped else ''}"


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
