"""What runs a model: the interface that kmax_tf.Predictor uses, and the one for models with a fixed input size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from kmax_tf.prediction.merging import check_size, panoptic_maps
from kmax_tf.prediction.placement import InputSize, restore_size, without_padding
from kmax_tf.tensor_keys import CLASS_LOGITS, CLUSTERS, MASK_LOGITS
from protos import evaluator_pb2
from protos.descriptions import DatasetInfo

Maps = dict[str, np.ndarray]
# A batch float32 [B,H,W,3] in 0..255 -> the maps of kmax_tf.build_postprocessor, or class and mask logits; see FixedSizeEngine.
Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Engine(Protocol):
    """A model that is ready to run. Several threads may use it at once."""

    dataset: DatasetInfo

    def predict(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """RGB images uint8 [H,W,3] of one size, in one call if the model takes batches -> the maps [H,W] of each."""
        ...


class FixedSizeEngine:
    """Runs a function of network inputs of one size: places images in them, and takes what it returns to the images' size.

    If the function returns no `panoptic_pred`, the maps are made from its logits in NumPy. Its outputs `decoder_<i>`
    [B,h,w], the slot of each pixel in the k-means step of decoder i, are returned without the padding.
    """

    def __init__(
        self, run: Run, size: InputSize, dataset: DatasetInfo, options: evaluator_pb2.EvaluatorOptions, *, batches: bool
    ):
        """`options` holds the merge rule and its thresholds; `batches`: whether `run` takes more than one image.

        If `run` returns logits, kmax_tf.prediction.merging.check_rule accepts the options.

        Raises:
          ConfigError: `options` ask for merging at the raw size.
        """
        check_size(options)
        self.dataset = dataset
        self._run, self._size, self._options, self._batches = run, size, options, batches

    def predict(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Engine."""
        placed = [self._size.place(image) for image in images]
        found = []
        for start in range(0, len(images), len(images) if self._batches else 1):
            part = placed[start:] if self._batches else placed[start : start + 1]
            outputs = self._run(np.stack([pixels for pixels, _ in part]))
            found += [{name: value[i] for name, value in outputs.items()} for i in range(len(part))]
        return [
            self._finish(outputs, resized, image.shape[:2])
            for outputs, (_, resized), image in zip(found, placed, images, strict=True)
        ]

    def _finish(self, outputs: Maps, resized: tuple[int, int], raw: tuple[int, int]) -> Maps:
        assigned = [name for name in outputs if name.startswith(CLUSTERS)]
        clusters = {name: without_padding(outputs.pop(name), resized, self._size.crop) for name in assigned}
        maps = outputs
        if "panoptic_pred" not in outputs:
            logits = outputs[MASK_LOGITS], outputs[CLASS_LOGITS]
            maps = panoptic_maps(*logits, self._size.crop, self.dataset, self._options)
        return restore_size(maps, resized, raw) | clusters
