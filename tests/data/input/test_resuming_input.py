"""60 steps of input with interruptions: the same examples, positions, flips and scales, on one host and on two."""

import numpy as np
import pytest
from google.protobuf import text_format
from panoptic_fixtures import INFO, write_records

from data.input import pipeline
from protos import dataset_pb2

_STEPS, _BATCH = 60, 4


def _options(path):
    return text_format.Parse(
        f"""crop_size: [33, 33] min_resize_value: 33 max_resize_value: 33 max_thing_id: 60
        source {{ file_pattern: "{path}/real.tfrecord" weight: 3 }} source {{ file_pattern: "{path}/pseudo.tfrecord" }}
        augmentations {{
          min_scale_factor: 0.3 max_scale_factor: 1.7 scale_factor_step_size: 0.1
          autoaugment_policy_name: "simple_classification_policy"
          panoptic_copy_paste {{ panoptic_copy_paste_scale: 0.5 panoptic_copy_paste_thing_option: "all" }}
        }}""",
        dataset_pb2.DatasetOptions(),
    )


def _lines(path, start, count, shard, num_shards):
    """One tuple per image: names, scale, position and flip of both images, and sums over the crop."""
    dataset = pipeline.training_dataset(
        _options(path), INFO, seed=11, start_step=start, batch_size=_BATCH, shard=shard, num_shards=num_shards, with_draws=True
    )
    lines = []
    for batch in dataset.take(count).as_numpy_iterator():
        sums = batch["image"].sum((1, 2, 3)), batch["thing_id_mask_gt"].sum((1, 2))
        names = zip(batch["image_name"].tolist(), batch["pasted_name"].tolist(), strict=True)
        rows = zip(names, batch["draws"].tolist(), *sums, strict=True)
        lines.append([(*pair, draws, float(pixels), int(numbers)) for pair, draws, pixels, numbers in rows])
    return lines


def test_any_number_of_hosts_sees_the_same_examples_at_each_step(tmp_path):
    write_records(tmp_path / "real.tfrecord", 7)
    write_records(tmp_path / "pseudo.tfrecord", 5, seed=1)

    def steps(num_shards, start, count):
        parts = [_lines(tmp_path, start, count, shard, num_shards) for shard in range(num_shards)]
        return [[line for part in step for line in part] for step in zip(*parts, strict=True)]

    # A run that goes on with other numbers of hosts.
    assert steps(2, 0, 6) + steps(1, 6, 6) == steps(1, 0, 12)


def test_interrupted_runs_see_what_an_uninterrupted_one_sees(tmp_path):
    num_shards = 2
    write_records(tmp_path / "real.tfrecord", 7)
    write_records(tmp_path / "pseudo.tfrecord", 5, seed=1)
    rng = np.random.default_rng(num_shards)
    steps = [[] for _ in range(_STEPS)]
    for shard in range(num_shards):
        whole = _lines(tmp_path, 0, _STEPS, shard, num_shards)
        if shard:
            stops = [0, *sorted(rng.choice(np.arange(1, _STEPS), 2, replace=False).tolist()), _STEPS]
            parts = [_lines(tmp_path, start, stop - start, shard, num_shards) for start, stop in zip(stops, stops[1:])]
            assert [step for part in parts for step in part] == whole
        for step, lines in zip(steps, whole, strict=True):
            step += lines
    images = [line for step in steps for line in step]
    assert len(images) == _STEPS * _BATCH
    # No example is lost or repeated between hosts: every source uses all its examples in every epoch.
    real = [line[0] for line in images if line[0].startswith(b"img_0")]
    assert len(real) == pytest.approx(0.75 * len(images), abs=10)
    for epoch in range(len(real) // 7):
        assert len(set(real[7 * epoch : 7 * epoch + 7])) == 7
    draws = np.array([line[2] for line in images])
    assert draws.shape == (len(images), 2, 4)
    np.testing.assert_allclose(np.unique(draws[:, 0, 0]), np.arange(3, 18) / 10, atol=1e-6)
    np.testing.assert_allclose(np.unique(draws[:, 1, 0]), np.linspace(0.15, 0.85, 8), atol=1e-6)
    assert 0.4 < draws[..., 3].mean() < 0.6
