"""Runs of the inspection on small records, for its tests."""

import re

import numpy as np
import tensorflow as tf
from panoptic_fixtures import INFO, encode

from data import inspect_dataset
from data.records import schema
from protos import descriptions
from protos.config import load_config


def small_config(root, *, train=True, evaluation=False, overrides=()):
    """A config that reads root/train*.tfrecord and root/val*.tfrecord."""
    (root / "toy.textproto").write_text(descriptions.to_text(INFO))
    text = 'model_options { backbone { name: "kmax_resnet50" } max_deeplab {} }\n'
    for wanted, section, pattern in ((train, "train", "train*.tfrecord"), (evaluation, "eval", "val*.tfrecord")):
        if wanted:
            records_text = f"dataset: 'toy.textproto' file_pattern: '{root}/{pattern}' crop_size: [65, 65]"
            text += f"{section}_dataset_options {{ {records_text} }}\n"
    path = root / "config.textproto"
    path.write_text(text)
    return load_config(path, overrides)


def run_inspection(root, *, train=True, evaluation=False, overrides=(), **arguments):
    config = small_config(root, train=train, evaluation=evaluation, overrides=overrides)
    return inspect_dataset.inspect(config, root / "out", source="config.textproto", num_samples=3, **arguments)


def write_labels(path, labels, *, names=None, seed=0):
    """Writes records of panoptic maps with noise as images."""
    rng = np.random.default_rng(seed)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, panoptic in enumerate(labels):
            image = encode(rng.integers(0, 256, (*panoptic.shape, 3), dtype=np.uint8))
            name = names[number] if names else f"noise_{seed}_{number}"
            writer.write(schema.build_example(image, "png", name, *panoptic.shape, panoptic).SerializeToString())


def report_of(root):
    return (root / "out" / "report.md").read_text()


def cells(report, title):
    """The cells of the first row with this title, in any table."""
    row, *_ = [line for line in report.splitlines() if re.match(rf"\| (\d+ +\| )?{re.escape(title)} +\|", line)]
    return [cell.strip() for cell in row.strip("|").split("|")]
