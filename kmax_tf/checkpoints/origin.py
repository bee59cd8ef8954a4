"""The origin of a checkpoint: its config, classes and version, stored in the checkpoint itself."""

import dataclasses
import importlib.metadata
import json
from collections.abc import MutableMapping

import tensorflow as tf

from kmax_tf.checkpoints.errors import readable
from kmax_tf.checkpoints.tensorflow_files import open_checkpoint
from protos import descriptions, experiment_pb2
from protos.config import config_to_text, dataset_info
from protos.descriptions import DatasetInfo

ATTRIBUTE = "origin"  # of the tf.train.Checkpoint


@dataclasses.dataclass(frozen=True)
class Origin:
    """`config` is the resolved config and `dataset` the dataset description, both as text; `version` is the project version."""

    config: str
    dataset: str
    version: str

    def info(self) -> DatasetInfo:
        """The classes that the model was trained on.

        Raises:
          ConfigError: the description was written by another version and cannot be parsed.
        """
        return descriptions.from_text(self.dataset, f"the dataset description in a checkpoint of version {self.version}")


class OriginState(tf.train.experimental.PythonState):
    """The origin of a run as part of its tf.train.Checkpoint; restoring a checkpoint does not replace it."""

    def __init__(self, config: experiment_pb2.ExperimentOptions):
        super().__init__()
        self._origin = Origin(config_to_text(config), descriptions.to_text(dataset_info(config)), version())

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self._origin))

    def deserialize(self, string_value: str) -> None:
        del string_value

    def _copy_trackable_to_cpu(self, object_map: MutableMapping[object, object]) -> None:
        """What TensorFlow calls before a thread writes a checkpoint; the origin does not change, so it needs no copy."""
        object_map[self] = self


def read_origin(prefix: str) -> Origin | None:
    """The origin of the checkpoint with this prefix; None if it has none (written by DeepLab2 or an earlier version).

    Raises:
      CheckpointError: the checkpoint is damaged.
    """
    key = f"{ATTRIBUTE}/.ATTRIBUTES/py_state"
    reader = open_checkpoint(prefix)
    with readable(prefix, "checkpoint"):
        found = json.loads(reader.get_tensor(key)) if reader.has_tensor(key) else None
        return found and Origin(*(str(found[field.name]) for field in dataclasses.fields(Origin)))


def version() -> str:
    """The installed version of this project."""
    try:
        return importlib.metadata.version("kmax-tf")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
