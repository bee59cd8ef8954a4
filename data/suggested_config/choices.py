"""Chooses the values of a config from the images and segments of a dataset and the machine to train on."""

import dataclasses
import math

import numpy as np

from data.suggested_config.facts import DataFacts
from protos.input_sizes import SIZE_STEP, nearest_sides

SIZES = ("small", "base", "large")
# Longer sides of the input: on a CPU, the largest with which the smallest batch has few pixels; on a GPU, the smallest
# with which most objects are large enough.
_CPU_SIDES, _GPU_SIDES = (321, 289, 257), (641, 961, 1281)
# Enlarging photographs by more than this adds no detail.
_LARGEST_SCALE = 1.35
# A thing of this many pixels of the input has about four of the features at stride 4; up to this share may be smaller.
_VISIBLE, _MOST_INVISIBLE = 64, 0.1
# Limits of COCO's published config, at its input of 1281 x 1281.
_COCO_PIXELS, _COCO_LIMITS = 1281**2, (400, 6400)
_LARGEST_BATCH = 8
_EPOCHS, _GPU_STEPS = 50, (1000, 40_000)
# The small model takes about 20 minutes of CPU time for them (docs/own_dataset.md), whatever the number of images.
_CPU_STEPS = 600


@dataclasses.dataclass(frozen=True)
class Model:
    """A size of the model: its encoder, GB of GPU memory for weights and for a million pixels of training images (estimated).

    A batch on a CPU has `cpu_batch` images or more and about `cpu_pixels`: a step then takes seconds on two cores. `pastes`:
    whether segments of other images are pasted; `rate` is the learning rate for batches of 8 from weights that were
    trained on another task (the encoder), `fine_rate` from those of a trained kMaX-DeepLab.
    """

    encoder: str
    gpu_weights: float
    gpu_per_megapixel: float
    cpu_batch: int
    cpu_pixels: int
    pastes: bool
    rate: float
    fine_rate: float


MODELS = {
    "small": Model("kmax_convnext_atto", 0.5, 3.0, 4, 340_000, False, 0.004, 0.001),
    "base": Model("kmax_resnet50", 3.0, 12.0, 2, 140_000, True, 0.0002, 0.00005),
    "large": Model("kmax_convnext_large", 6.0, 30.0, 2, 140_000, True, 0.0002, 0.00005),
}


@dataclasses.dataclass(frozen=True)
class Choices:
    """The values of a config; `crop` is height and width. `fine_tunes`: the run starts from a trained kMaX-DeepLab."""

    size: str
    model: Model
    on_gpu: bool
    fine_tunes: bool
    crop: tuple[int, int]
    batch_size: int
    accumulate_steps: int
    steps: int
    steps_per_loop: int
    eval_interval: int
    warmup_steps: int
    max_thing_id: int
    num_mask_slots: int
    thing_area_limit: int
    stuff_area_limit: int

    @property
    def rate_factor(self) -> float:
        """What learning rates for batches of 8 are multiplied by."""
        return self.batch_size / _LARGEST_BATCH

    @property
    def learning_rate(self) -> float:
        return (self.model.fine_rate if self.fine_tunes else self.model.rate) * self.rate_factor


def choose(facts: DataFacts, *, size: str | None, gpu_memory: float, fine_tunes: bool) -> Choices:
    """Chooses the values.

    Args:
      facts: the dataset.
      size: one of SIZES; None: base on a GPU, small on a CPU.
      gpu_memory: GB of the GPU; 0: training on a CPU.
      fine_tunes: whether the run starts from a trained kMaX-DeepLab.
    """
    size = size or ("base" if gpu_memory else "small")
    model = MODELS[size]
    crop = _crop(facts, model, gpu_memory)
    batch = min(_LARGEST_BATCH, _power_of_two(facts.images))
    parts = 1
    if gpu_memory:
        fitting = max(int((gpu_memory - model.gpu_weights) / (model.gpu_per_megapixel * math.prod(crop) / 1e6)), 1)
        parts = batch // min(batch, _power_of_two(fitting))
    else:
        batch = min(batch, max(_power_of_two(model.cpu_pixels // math.prod(crop)), model.cpu_batch))
    loop = 50 if gpu_memory else 10
    steps = _rounded(np.clip(_EPOCHS * facts.images / batch, *_GPU_STEPS), 2 * loop) if gpu_memory else _CPU_STEPS
    pasted = 2 if model.pastes else 1
    most = [_rounded(1.25 * pasted * number, 16) for number in (facts.most_things, facts.most_segments)]
    slots = 2 ** math.ceil(math.log2(max(most[1], 32)))
    limits = [
        _area_limit(areas, coco * math.prod(crop) / _COCO_PIXELS, math.prod(crop) * (1 - facts.padding(crop)))
        for areas, coco in zip((facts.things, facts.stuff), _COCO_LIMITS)
    ]
    return Choices(
        size,
        model,
        bool(gpu_memory),
        fine_tunes,
        crop,
        batch,
        parts,
        steps,
        loop,
        max(_rounded(steps / 10, loop), loop),
        steps // (20 if fine_tunes else 10),
        min(most[0], facts.label_divisor - 1),
        slots if size == "small" else max(slots, 128),
        *limits,
    )


def _crop(facts: DataFacts, model: Model, gpu_memory: float) -> tuple[int, int]:
    """The input size: the shape of the images, and as large as the machine allows and the objects need."""
    longest = max(int(_LARGEST_SCALE * facts.long_side) - 1, SIZE_STEP) // SIZE_STEP * SIZE_STEP + 1
    crops = [_shaped(min(side, longest), facts.aspect) for side in (_GPU_SIDES if gpu_memory else _CPU_SIDES)]
    if not gpu_memory:
        return next((crop for crop in crops if model.cpu_batch * math.prod(crop) <= model.cpu_pixels), crops[-1])
    room = 1e6 * (gpu_memory - model.gpu_weights) / model.gpu_per_megapixel
    fitting = [crop for crop in crops if math.prod(crop) <= room] or crops[:1]
    small = [(facts.things * math.prod(crop) < _VISIBLE).mean() if len(facts.things) else 0 for crop in fitting]
    return next((crop for crop, share in zip(fitting, small) if share <= _MOST_INVISIBLE), fitting[-1])


def _shaped(long_side: int, aspect: float) -> tuple[int, int]:
    """Height and width with this longer side; the other one leaves as little padding for images of this aspect as possible."""
    exact = (long_side - 1) * min(aspect, 1 / aspect) + 1
    short = min(nearest_sides(round(exact)), key=lambda side: 1 - min(exact / side, side / exact))
    return (short, long_side) if aspect >= 1 else (long_side, short)


def _power_of_two(number: float) -> int:
    """The largest power of two that is not larger, at least 1."""
    return 2 ** int(math.log2(max(number, 1)))


def _rounded(number: float, step: int) -> int:
    """Rounded up to a positive multiple of `step`."""
    return max(math.ceil(number / step), 1) * step


def _area_limit(shares: np.ndarray, published: float, pixels: float) -> int:
    """The published limit, or less where it would remove more than a hundredth of the segments; in pixels of the input."""
    smallest = np.quantile(shares, 0.01) * pixels if len(shares) else published
    return max(int(min(published, smallest)), 1)
