"""The network of an export as a function of inputs with a fixed size, and how `model.json` describes it."""

import dataclasses
import functools
from typing import Any

import tensorflow as tf

from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS
from trainer.prediction.inference import PanopticPredictor

INPUT = "images"


@dataclasses.dataclass(frozen=True)
class Network:
    """What a format contains, for batches of `batch_size` images (None: any number) of `crop`, height and width in pixels."""

    predictor: PanopticPredictor
    crop: tuple[int, int]
    batch_size: int | None

    @property
    def spec(self) -> tf.TensorSpec:
        """The input of `function`."""
        return tf.TensorSpec([self.batch_size, *self.crop, 3], tf.float32, INPUT)

    @functools.cached_property
    def function(self) -> tf.types.experimental.PolymorphicFunction:
        """float32 [B,*crop,3] in 0..255 -> class and mask logits, as a graph."""

        def logits(images: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = self.predictor.network(images)
            return {name: outputs[name] for name in (CLASS_LOGITS, MASK_LOGITS)}

        return tf.function(logits, input_signature=[self.spec], autograph=False)

    def weights(self) -> tf.Module:
        """The variables, to save with `function`; saving the predictor would include all of its functions."""
        holder = tf.Module()
        holder.weights = self.predictor.variables
        return holder

    def described(self, file: str) -> dict[str, Any]:
        """The entry of a format in model.json: name, dtype and shape of the input and of each output."""
        outputs = self.function.get_concrete_function().structured_outputs
        specs = {name: outputs[name] for name in sorted(outputs)}
        return {"file": file, "input": _described(INPUT, self.spec), "outputs": [_described(*item) for item in specs.items()]}


def _described(name: str, spec: tf.TensorSpec) -> dict[str, Any]:
    return {"name": name, "dtype": spec.dtype.name, "shape": spec.shape.as_list()}
