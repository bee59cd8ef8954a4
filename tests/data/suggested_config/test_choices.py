"""The values of a written config for several datasets and machines."""

import math

import numpy as np
import pytest

from data.suggested_config.choices import SIZES, choose
from data.suggested_config.facts import DataFacts


def _facts(sizes=((360, 480),), *, images=144, things=6, segments=17, areas=(0.01,), divisor=256):
    return DataFacts(images, 16, np.array(sizes), things, segments, np.array(areas), np.array([0.3, 0.5]), divisor)


def _choose(facts=None, *, size=None, gpu_memory=0.0, fine_tunes=False):
    return choose(facts or _facts(), size=size, gpu_memory=gpu_memory, fine_tunes=fine_tunes)


@pytest.mark.parametrize(
    ("sizes", "gpu_memory", "crop"),
    [
        # Photographs of 480x360 (width x height), enlarged by a third to a whole number of 32 pixels.
        ([(360, 480)], 24, (481, 641)),
        ([(360, 480)], 0, (257, 321)),
        ([(480, 360)], 24, (641, 481)),
        ([(1080, 1920)], 24, (353, 641)),
        ([(2000, 2000)], 24, (641, 641)),
        # Upright and wide images, mixed.
        ([(360, 480), (480, 360)], 24, (641, 641)),
        # Not enlarged much.
        ([(120, 160)], 24, (161, 193)),
        ([(20, 20)], 0, (33, 33)),
    ],
)
def test_the_input_has_the_shape_of_the_images(sizes, gpu_memory, crop):
    assert _choose(_facts(sizes), gpu_memory=gpu_memory).crop == crop


def test_small_objects_get_a_larger_input_where_the_memory_allows_it():
    # 64 pixels of 0.000156 of the image: 410,000 pixels are needed.
    facts = _facts([(1500, 2000)], areas=[0.000156] * 10)
    assert _choose(facts, gpu_memory=80).crop == (737, 961)
    assert _choose(facts, gpu_memory=8).crop == (481, 641)
    assert _choose(_facts([(360, 480)], areas=[0.000156] * 10), gpu_memory=80).crop == (481, 641)


@pytest.mark.parametrize("gpu_memory", [0, 6, 11, 24, 80])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("images", [1, 3, 150, 100_000])
def test_values_fit_each_other(size, gpu_memory, images):
    choices = _choose(_facts(images=images), size=size, gpu_memory=gpu_memory)
    assert choices.size == size and 1 <= choices.batch_size <= min(images, 8)
    assert choices.batch_size % choices.accumulate_steps == 0
    assert choices.warmup_steps < choices.steps and choices.steps % choices.steps_per_loop == 0
    assert choices.eval_interval % choices.steps_per_loop == 0 and choices.eval_interval <= choices.steps
    assert all(side % 32 == 1 for side in choices.crop)


def test_the_batch_of_a_small_gpu_is_split():
    parts = {memory: _choose(size="base", gpu_memory=memory).accumulate_steps for memory in (6, 11, 24, 80)}
    assert parts == {6: 8, 11: 4, 24: 2, 80: 1}


def test_the_batch_on_a_cpu_is_small():
    found = {size: _choose(size=size) for size in SIZES}
    assert {size: (c.crop, c.batch_size) for size, c in found.items()} == {
        "small": ((257, 321), 4),
        "base": ((225, 289), 2),
        "large": ((225, 289), 2),
    }


def test_size_follows_from_the_machine():
    assert (_choose().size, _choose(gpu_memory=24).size) == ("small", "base")


def test_steps_and_learning_rates():
    assert _choose(_facts(images=800), size="base", gpu_memory=80, fine_tunes=True).steps == 5000
    assert [_choose(_facts(images=n), gpu_memory=24).steps for n in (20, 800, 10**6)] == [1000, 5000, 40_000]
    # A CPU trains for some minutes: fewer images do not need fewer steps.
    assert [_choose(_facts(images=n)).steps for n in (8, 40, 10**6)] == [600, 600, 600]
    tuned, fresh = (_choose(size="base", gpu_memory=80, fine_tunes=tunes).learning_rate for tunes in (True, False))
    assert (tuned, fresh) == pytest.approx((5e-5, 2e-4))


def test_numbers_of_things_and_slots():
    few = _choose()
    assert few.max_thing_id >= 6 and few.num_mask_slots == 32
    # Pasting adds as many again. COCO's cluster centers need 128 slots.
    many = _choose(_facts(things=60, segments=70), gpu_memory=24)
    assert many.max_thing_id >= 120 and many.num_mask_slots == 256
    assert _choose(gpu_memory=24).num_mask_slots == 128
    assert _choose(_facts(things=15, divisor=16)).max_thing_id == 15


def test_area_limits_leave_nearly_all_segments():
    shares = np.linspace(0.0001, 0.01, 1000)
    choices = _choose(_facts(areas=shares), gpu_memory=24)
    pixels = shares * math.prod(choices.crop)
    assert 0.005 < (pixels < choices.thing_area_limit).mean() < 0.015
    # COCO's limit of 6400 pixels at 1281 x 1281.
    assert choices.stuff_area_limit == int(6400 * math.prod(choices.crop) / 1281**2)
    assert _choose(_facts(areas=[])).thing_area_limit > 0
