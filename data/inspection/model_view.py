"""What the model sees of a section: the images and targets that the input pipeline yields, as statistics and pictures."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.input import augmentation, pipeline
from data.inspection.scan import ProblemList, Section
from data.records.schema import DataError, shown_name
from kmax_tf.cli.progress import counted
from kmax_tf.drawing import pictures
from kmax_tf.tensor_keys import SEMANTIC_GT, THING_CLASS_GT, THING_MASK_GT
from protos.descriptions import DatasetInfo

# Number of augmented training images for the statistics.
_DRAWN = 128
# Longest side of a picture on a sheet, height of a caption line, and period of the stripes over void, in pixels.
PANEL, LINE, _STRIPES = 300, 18, 12
# Images on a page of the contact sheets, which a screen shows as a whole: two in each row.
_PAGE, _IN_A_ROW = 6, 2
# Stripes on pixels below this gray level are light.
_DARK = 64


@dataclasses.dataclass(frozen=True)
class Sample:
    """One input: `image` uint8 [h, w, 3], the `panoptic` map of its targets, int64 [h, w], and the lines of its `caption`.

    Instances are numbered from 1; `panoptic` is None without labels.
    """

    image: np.ndarray
    panoptic: np.ndarray | None
    caption: Sequence[str]


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
    """Reads augmented training images, or evenly spaced ones of the evaluation, and keeps `num_samples`; bad ones are skipped.

    `seed` is that of order and augmentation, as trainer_options.seed; raises ConfigError if an option is invalid.
    """
    problems = ProblemList()
    options, info = section.options, section.info
    if section.name == "train":
        dataset = pipeline.training_dataset(options, info, seed=seed, batch_size=1, problems=problems, with_draws=True)
        count = max(num_samples, _DRAWN)
    else:
        count = min(num_samples, len(section.index))
        numbers = np.linspace(0, len(section.index) - 1, count).round().astype(int).tolist()
        dataset = pipeline.evaluation_dataset(options, info, batch_size=1, problems=problems, numbers=numbers)
    view = ModelView()
    with contextlib.suppress(DataError):  # no usable one is left
        for batch in problems.batches(dataset.take(count)):
            _add(view, {key: value[0] for key, value in batch.items()}, info, keep=len(view.samples) < num_samples)
    view.dropped = problems.dropped_instances
    return view


def _add(view: ModelView, example: Mapping[str, np.ndarray], info: DatasetInfo, *, keep: bool) -> None:
    view.images += 1
    view.padding += float((example["image"] == augmentation.PADDING_VALUE).all(-1).mean())
    panoptic, caption = None, _origin(example)
    if SEMANTIC_GT in example:
        panoptic = target_panoptic(example, info)
        void = float((example[SEMANTIC_GT] == info.ignore_label).mean())
        view.void += void
        view.instances.append(int(example[THING_MASK_GT].max()) + 1)
        caption.append(f"{counted(view.instances[-1], 'instance')}, {void:.0%} unlabeled")
    if keep:
        view.samples.append(Sample(np.rint(example["image"]).clip(0, 255).astype(np.uint8), panoptic, caption))


def target_panoptic(example: Mapping[str, np.ndarray], info: DatasetInfo) -> np.ndarray:
    """The panoptic map [h, w] that the targets of one image describe (see data/input/targets.py)."""
    number, semantic = example[THING_MASK_GT], example[SEMANTIC_GT].astype(np.int64)
    return np.where(number >= 0, example[THING_CLASS_GT][number], semantic) * info.label_divisor + number + 1


def _origin(example: Mapping[str, np.ndarray]) -> list[str]:
    """Caption lines: the name of an image and its transformations."""
    name = shown_name(example["image_name"])
    if "draws" not in example:
        (raw_height, raw_width), (height, width) = example["raw_size"], example["resized_size"]
        return [name, f"{raw_width}x{raw_height} resized to {width}x{height}"]
    draws = [
        f"scale {scale:.2f}, crop at x {column:.0f}, y {row:.0f}{', flipped' if flipped else ''}"
        for scale, row, column, flipped in example["draws"]
    ]
    return [name, draws[0], *(f"pasted: {shown_name(example['pasted_name'])}, {draw}" for draw in draws[1:])]


def contact_sheets(samples: Sequence[Sample], info: DatasetInfo) -> Iterator[np.ndarray]:
    """Pages of samples: image with caption, labels over the image with void striped, and legend; uint8 [H, W, 3].

    Each picture is scaled to a longest side of PANEL pixels.
    """
    for first in range(0, len(samples), _PAGE):
        shown = [_row(sample, info) for sample in samples[first : first + _PAGE]]
        columns = min(_IN_A_ROW, len(shown))
        rows = [sum(shown[k : k + columns], []) for k in range(0, len(shown), columns)]
        yield pictures.contact_sheet(rows, ("input", "labels", "classes") * columns)


def _row(sample: Sample, info: DatasetInfo) -> list[np.ndarray]:
    height, width = sample.image.shape[:2]
    size = tuple(max(1, round(side * PANEL / max(height, width))) for side in (width, height))
    image = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR))
    caption = Image.new("RGB", (size[0], LINE * len(sample.caption) + LINE // 3), (255, 255, 255))
    for number, line in enumerate(sample.caption):
        position, font = (2, LINE * number + LINE // 3), ImageFont.load_default(LINE * 2 // 3)
        ImageDraw.Draw(caption).text(position, line, (32, 32, 32), font)
    panels = [np.concatenate([np.asarray(caption), image])]
    if sample.panoptic is not None:
        panoptic = np.asarray(Image.fromarray(sample.panoptic.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        overlay = pictures.overlay_panoptic(_striped(image, panoptic, info), panoptic, info)
        panels.append(np.concatenate([np.full_like(caption, 255), overlay]))
        panels.append(pictures.legend(panoptic, info, size=LINE * 2 // 3))
    return panels


def _striped(image: np.ndarray, panoptic: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """Draws dark stripes over void, and light ones where the image is dark."""
    rows, columns = np.indices(panoptic.shape)
    striped = (panoptic == info.void_label) & ((rows + columns) % _STRIPES < _STRIPES // 2)
    is_dark = image.max(-1, keepdims=True) < _DARK
    return np.where(striped[..., None], np.where(is_dark, 255 - (255 - image) // 3 * 2, image // 3), image)
