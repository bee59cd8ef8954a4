"""The file `model.json` beside an exported model: what made it, what it takes and returns, and its classes."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from kmax_tf.prediction.placement import InputSize
from protos import evaluator_pb2
from protos.descriptions import ConfigError, DatasetInfo

CARD_FILE = "model.json"


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """`files`: name, input and outputs of each format; `size` and `options`: what comes before and after the network."""

    files: Mapping[str, Mapping[str, Any]]
    size: InputSize
    options: evaluator_pb2.EvaluatorOptions

    def to_text(self, info: DatasetInfo, origin: Mapping[str, str], metrics: Mapping[str, Any] | None) -> str:
        """The JSON, for people and for programs in other languages, too.

        `origin` names the experiment, checkpoint and version; `metrics` are those of its evaluation, if there are any.
        """
        classes = [dataclasses.asdict(entry) for entry in info.classes]
        labels = {"label_divisor": info.label_divisor, "void_label": info.void_label, "class_order": info.class_order}
        content = {
            **origin,
            "formats": self.files,
            "input_size": dataclasses.asdict(self.size),
            "post_processing": json_format.MessageToDict(self.options, preserving_proto_field_name=True),
            "dataset": info.name,
            "labels": labels,
            "metrics": metrics,
            "classes": classes,
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_card(folder: pathlib.Path) -> ModelCard:
    """Reads `model.json`.

    Raises:
      ConfigError: it does not exist or is damaged.
    """
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in content["input_size"].items()}
        options = json_format.ParseDict(content["post_processing"], evaluator_pb2.EvaluatorOptions())
        return ModelCard(content["formats"], InputSize(**sizes), options)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: copy it with the model, or export the model again") from None
    except (KeyError, TypeError, ValueError, AttributeError, json_format.ParseError) as error:
        raise ConfigError(f"{path} is damaged ({error}): export the model again") from None
