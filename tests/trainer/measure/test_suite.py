"""The start of a training that the suite measures."""

import io

import pytest
from tiny_config import TINY

from kmax_tf import load_config
from protos.errors import UserError
from trainer.measure import suite


class _Training(io.StringIO):
    """Instead of trainer/train.py: keeps its arguments and prints an error."""

    def __init__(self, command: list[str], **_):
        super().__init__()
        type(self).command, self.stdout = command, ["no training here"]


def test_training_reads_drawn_records_alone(tmp_path, monkeypatch):
    path = tmp_path / "config.textproto"
    pattern = 'file_pattern: "RECORDS/train-*.tfrecord"'
    given = 'source { file_pattern: "/nowhere/a" } source { file_pattern: "/nowhere/b" } data_service: "grpc://nowhere:1"'
    path.write_text(TINY.replace(pattern, given).replace("RECORDS", "/nowhere"))
    monkeypatch.setattr(suite.subprocess, "Popen", _Training)
    with pytest.raises(UserError, match="ended before the first step: no training here"):
        suite.seconds_to_first_step(str(path), [])
    overrides = [a.removeprefix("--override=") for a in _Training.command if a.startswith("--override=")]
    options = load_config(path, overrides).train_dataset_options
    (records,) = options.file_pattern
    assert not options.source and not options.data_service and "/nowhere" not in records
