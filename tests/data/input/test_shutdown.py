"""A program can end while its input pipeline is working."""

import pathlib
import subprocess
import sys

from panoptic_fixtures import write_records

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_PROGRAM = """
import sys
from data.input import pipeline
from protos import dataset_pb2, descriptions

options = dataset_pb2.DatasetOptions(file_pattern=[sys.argv[1]], crop_size=[129, 129])
info = descriptions.load("coco_panoptic")
dataset = pipeline.training_dataset(options, info, seed=0, batch_size=64)
iterator = iter(dataset)
print(next(iterator)["image"].shape, flush=True)
"""


def test_exit_with_reads_in_flight(tmp_path):
    write_records(tmp_path / "a.tfrecord", 20)
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "a.tfrecord")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "(64, 129, 129, 3)\n"), done.stderr
    assert "Traceback" not in done.stderr
