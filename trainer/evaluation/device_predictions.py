"""What the devices of all hosts predict for the batches of an evaluation."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from kmax_tf.inference_graph import inference_maps
from kmax_tf.postprocessing.postprocessor import cluster_maps
from kmax_tf.tensor_keys import AUXILIARY_OUTPUTS, CLASS_LOGITS, MASK_LOGITS
from trainer.training.distribution import spans_hosts, sum_over_hosts
from trainer.training.experiment import Experiment
from trainer.training.stopping import StopRequested

Item, Result = TypeVar("Item"), TypeVar("Result")
# Beside the losses: the highest confidence of all classes and slots of an image.
CONFIDENCE = "highest_confidence"
# Numbers that devices have no use for.
_FOR_THE_HOST = ("number", "num_records", "resized_size", "raw_size")


class Predicted(NamedTuple):
    """Of each image of a batch: maps at the size of the input, or the logits to merge later; clusters; losses."""

    maps: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    clusters: dict[str, np.ndarray]
    losses: dict[str, np.ndarray]


class DevicePredictions:
    """Each device predicts some images of each batch."""

    def __init__(self, experiment: Experiment, stop: threading.Event, *, clusters: bool):
        """`stop`: ends the predictions when it is set, on any host. `clusters`: whether to return cluster assignments."""
        self._strategy = experiment.strategy
        self._stop = stop
        self._predict = _make_predict(experiment, clusters=clusters)
        replicas = self._strategy.num_replicas_in_sync
        # Every device has an image.
        self.batch_size = -(-experiment.config.eval_dataset_options.batch_size // replicas) * replicas

    def of_batches(self, batches: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[dict[str, np.ndarray], int, Predicted]]:
        """Batches of `batch_size` examples, how many of these count, and what is predicted for them.

        Raises:
          StopRequested: after the batch in progress.
        """
        counts = ((batch, len(batch["image"])) for batch in batches)
        filled = (({k: _repeat_last(v, self.batch_size) for k, v in batch.items()}, count) for batch, count in counts)
        for (batch, count), predicted in _one_ahead(lambda item: self._of_batch(item[0]), filled):
            yield batch, count, predicted

    def _of_batch(self, batch: dict[str, np.ndarray]) -> Predicted:
        # In the thread of the predictions, because hosts must exchange all values in the same order.
        if sum_over_hosts(self._strategy, self._stop.is_set()):
            raise StopRequested
        numeric = {k: tf.constant(v) for k, v in batch.items() if v.dtype.kind != "O" and k not in _FOR_THE_HOST}
        share = self.batch_size // self._strategy.num_replicas_in_sync

        def part(context: tf.distribute.experimental.ValueContext, value: tf.Tensor) -> tf.Tensor:
            start = context.replica_id_in_sync_group * share
            return value[start : start + share]

        distributed = {
            k: self._strategy.experimental_distribute_values_from_function(lambda context, v=v: part(context, v))
            for k, v in numeric.items()
        }

        def joined(values: tf.Tensor) -> np.ndarray:
            return np.concatenate([part.numpy() for part in self._strategy.experimental_local_results(values)])

        return tf.nest.map_structure(joined, self._predict(distributed))


def _make_predict(experiment: Experiment, *, clusters: bool) -> Callable[[dict[str, tf.Tensor]], Predicted]:
    config = experiment.config
    labels = config.eval_dataset_options.decode_groundtruth_label
    predict_maps = inference_maps(experiment.model, config, compiled=experiment.folds_norms)

    def on_replica(batch: dict[str, tf.Tensor]) -> Predicted:
        maps, outputs = predict_maps(batch["image"], semantic=labels)
        main = {k: v for k, v in outputs.items() if k != AUXILIARY_OUTPUTS}
        losses = {}
        if labels:
            classes = tf.nn.softmax(tf.cast(outputs[CLASS_LOGITS], tf.float32))[..., :-1]
            losses = experiment.criterion(batch, main) | {CONFIDENCE: tf.reduce_max(classes, [1, 2])}
        slots = cluster_maps(outputs) if clusters else {}
        if config.evaluator_options.merge_at_raw_size:
            return Predicted({}, {k: main[k] for k in (MASK_LOGITS, CLASS_LOGITS)}, slots, losses)
        return Predicted(maps, {}, slots, losses)

    strategy = experiment.strategy

    def predict(batch: dict[str, tf.Tensor]) -> Predicted:
        results = strategy.run(on_replica, (batch,))
        # The results of other hosts are not here yet.
        return tf.nest.map_structure(lambda v: strategy.gather(v, 0), results) if spans_hosts(strategy) else results

    return tf.function(predict, autograph=False)


def _one_ahead(make: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[tuple[Item, Result]]:
    """Each item with make(item), in order; a thread makes the next one while the caller works on one.

    Not several at a time: see kmax_tf.prediction.one_call.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        submitted = ((item, pool.submit(make, item)) for item in items)
        current = next(submitted, None)
        while current:
            coming = next(submitted, None)
            item, made = current
            yield item, made.result()
            current = coming


def _repeat_last(values: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), 0)]) if len(values) < count else values
