"""The network of an export as functions of a batch of inputs with a fixed size, and how `model.json` describes them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS
from trainer.prediction.inference import PanopticPredictor

INPUT = "images"


@dataclasses.dataclass(frozen=True)
class Network:
    """What a format contains. `crop` is the height and width of the input in pixels."""

    predictor: PanopticPredictor
    crop: tuple[int, int]

    def logits(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 [B,*crop,3] in 0..255 -> class and mask logits."""
        outputs = self.predictor.network(images)
        return {name: outputs[name] for name in (CLASS_LOGITS, MASK_LOGITS)}

    def weights(self) -> tf.Module:
        """What a converter saves with `function`; with the predictor it would save all functions of that as well."""
        holder = tf.Module()
        holder.weights = self.predictor.variables
        return holder

    def spec(self, batch_size: int | None) -> tf.TensorSpec:
        """The input of `logits`."""
        return tf.TensorSpec([batch_size, *self.crop, 3], tf.float32, INPUT)

    def function(self, batch_size: int | None) -> tf.types.experimental.PolymorphicFunction:
        """`logits` as a graph."""
        return tf.function(self.logits, input_signature=[self.spec(batch_size)], autograph=False)


def described(file: str, batch_size: int | None, crop: Sequence[int], outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of a format in model.json; `outputs` are name, dtype and shape of each, with None for the batch."""
    shape = [batch_size, *crop, 3]
    return {"file": file, "input": {"name": INPUT, "dtype": "float32", "shape": shape}, "outputs": list(outputs)}


def described_outputs(function: tf.types.experimental.PolymorphicFunction) -> list[dict[str, Any]]:
    """Name, dtype and shape of the outputs of Network.function, in the order of its graph."""
    outputs = function.get_concrete_function().structured_outputs
    return [
        {"name": name, "dtype": outputs[name].dtype.name, "shape": outputs[name].shape.as_list()} for name in sorted(outputs)
    ]
