"""Evaluation: predictions of the whole evaluation set, their metrics, losses and pictures."""

import itertools
import json
import pathlib
import threading
from collections.abc import Iterator

import numpy as np
import orbit
import tensorflow as tf

from data.input.pipeline import evaluation_dataset, input_problems
from data.records.schema import DataError
from kmax_tf.cli.progress import Progress, duration
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.evaluation.evaluator import PanopticEvaluator
from kmax_tf.files.atomic import write_text
from kmax_tf.postprocessing.raw_size import build_restore
from kmax_tf.prediction.placement import restore_size, without_padding
from trainer.evaluation.device_predictions import CONFIDENCE, DevicePredictions
from trainer.evaluation.messages import summary_line, why_zero
from trainer.evaluation.metrics_files import read_metrics
from trainer.monitoring.pictures import PictureBook
from trainer.monitoring.progress import Stopwatch
from trainer.training.distribution import is_chief
from trainer.training.experiment import Experiment

_SCALARS = {
    "evaluation/pq/PQ": "pq",
    "evaluation/pq/SQ": "sq",
    "evaluation/pq/RQ": "rq",
    "evaluation/pq/PQ_things": "pq_things",
    "evaluation/pq/PQ_stuff": "pq_stuff",
    "evaluation/pq/boundary_PQ": "boundary_pq",
    "evaluation/iou/IoU": "mean_iou",
    "evaluation/ap/AP_Mask": "ap",
}


class EvalLoop(orbit.AbstractEvaluator):
    """Predicts on the devices of all hosts; the chief scores at the size of the raw images.

    Every host reads all images and predicts some of each batch, so that the chief sees what a single host would.
    """

    def __init__(self, experiment: Experiment, model_dir: pathlib.Path, stop: threading.Event):
        """`stop`: when it is set, the loop raises StopRequested after the batch in progress."""
        self._experiment = experiment
        self._options = experiment.config.eval_dataset_options
        self._labels = self._options.decode_groundtruth_label
        self._eval_dir = model_dir / "eval"
        options = experiment.config.evaluator_options
        pictures = pathlib.Path(options.override_save_dir) if options.override_save_dir else model_dir / "vis"
        count, limit = options.num_vis_samples if options.save_predictions else 0, max(options.eval_steps, 0)
        self._pictures = PictureBook(pictures, count, experiment.info, limit)
        self._problems = input_problems(self._options)
        self._devices = DevicePredictions(experiment, stop, clusters=count > 0)
        batch_size = self._devices.batch_size
        self._dataset = evaluation_dataset(self._options, experiment.info, batch_size=batch_size, problems=self._problems)
        self._damaged_files = self._problems.skipped_examples
        self._merge = tf.function(build_restore(experiment.config), autograph=False) if options.merge_at_raw_size else None
        self._is_chief = is_chief(experiment.strategy)

    def evaluate(self, num_steps: tf.Tensor) -> None:
        """Evaluates `num_steps` images, all of them if it is -1; writes metrics.json, summaries and pictures.

        Raises:
          StopRequested: see `stop`.
          DataError: more examples were skipped than evaluated.
        """
        step = int(self._experiment.global_step.numpy())
        limit = int(num_steps) if num_steps >= 0 else None
        confidence = 0.0
        evaluator = PanopticEvaluator(self._experiment.info, self._experiment.config.evaluator_options)
        losses: list[dict[str, float]] = []
        results = self._results_writer(step)
        evaluated, record = 0, None
        progress, watch = None, Stopwatch()
        with self._experiment.inference_weights():
            for example, maps, example_losses in itertools.islice(self._predictions(), limit):
                evaluated, record = evaluated + 1, example
                confidence = max(confidence, example_losses.pop(CONFIDENCE, 0.0))
                if not self._is_chief:
                    continue
                name = example["image_name"].decode(errors="replace")
                if self._labels:
                    evaluator.update(name, maps, tf.io.parse_tensor(example["panoptic_raw"], tf.int32).numpy())
                    losses.append(example_losses)
                if results:
                    results.add(f"{name}.jpg", maps["panoptic_pred"], maps)
                self._pictures.add(step, example, maps)
                total = int(example["num_records"])
                progress = progress or Progress("evaluation", "images", total if limit is None else min(total, limit))
                progress.update(evaluated)
        if progress:
            progress.finish(evaluated)
        seconds = watch.elapsed
        print(f"evaluated {evaluated} images in {duration(seconds)} ({evaluated / seconds:.3g} images/s)", flush=True)
        if results:
            results.finish()
        if self._is_chief:
            self._pictures.finish(step)
        skipped = self._count_skipped(evaluated, record, complete=evaluated != limit)
        tf.summary.scalar("input/skipped_examples", skipped, step=step)
        if self._labels and self._is_chief:
            self._report({"step": step, **evaluator.result(), "skipped_examples": skipped}, losses, confidence)

    def _count_skipped(self, evaluated: int, last: dict | None, *, complete: bool) -> int:
        """Examples that were left out up to the last one that was evaluated, or of all of them."""
        if last is None:
            raise DataError("eval_dataset_options: none of the examples can be used, the warnings above tell why")
        # Only a complete evaluation has met every damaged file.
        passed = int(last["num_records"]) + self._damaged_files if complete else int(last["number"]) + 1
        skipped = passed - evaluated
        if skipped > evaluated:
            raise DataError(
                f"eval_dataset_options: {skipped} examples cannot be used, more than the {evaluated} that can; the warnings "
                "above tell why. Is dataset the one of these records? data/inspect_dataset.py checks all of them"
            )
        if skipped:
            print(f"{skipped} examples could not be used and are not part of the evaluation, see the warnings", flush=True)
        return skipped

    def _report(self, metrics: dict, losses: list[dict[str, float]], confidence: float) -> None:
        self._write_metrics(metrics)
        scalars = {tag: metrics[key] for tag, key in _SCALARS.items() if metrics.get(key) is not None}
        for name in losses[0] if losses else ():
            scalars[f"losses/eval_{name}"] = float(np.mean([entry[name] for entry in losses]))
        for name, of_class in metrics["per_class"].items():
            if of_class["pq"] is not None and of_class["tp"] + of_class["fp"] + of_class["fn"]:
                scalars[f"pq_of_classes/{name}"] = of_class["pq"]
        for tag, value in scalars.items():
            tf.summary.scalar(tag, value, step=metrics["step"])
        print(summary_line(metrics), flush=True)
        if metrics["pq"] == 0:
            print(why_zero(metrics, confidence, self._experiment.config.evaluator_options), flush=True)

    def _results_writer(self, step: int) -> PanopticResultsWriter | None:
        if not (self._experiment.config.evaluator_options.save_raw_predictions and self._is_chief):
            return None
        folder = self._eval_dir / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        return PanopticResultsWriter(folder / f"panoptic_{step}.json", self._experiment.info)

    def _predictions(self) -> Iterator[tuple[dict, dict[str, np.ndarray], dict[str, float]]]:
        """Each example of the set as NumPy values, its maps at raw size, with clusters at their own size, and its losses."""
        for batch, count, predicted in self._devices.of_batches(self._problems.batches(self._dataset)):
            for i in range(count):
                maps, logits, clusters, losses = ({k: v[i] for k, v in part.items()} for part in predicted)
                example = {k: v[i] for k, v in batch.items()}
                sizes = crop, resized, raw = batch["image"].shape[1:3], example["resized_size"], example["raw_size"]
                restored = self._merge_at_raw_size(logits, *sizes) if self._merge else restore_size(maps, resized, raw)
                shown = {k: without_padding(v, resized, crop) for k, v in clusters.items()}
                yield example, restored | shown, {k: float(v) for k, v in losses.items()}

    def _merge_at_raw_size(self, logits: dict[str, np.ndarray], *sizes: np.ndarray) -> dict[str, np.ndarray]:
        merged = self._merge({}, {k: v[None] for k, v in logits.items()}, *(tf.constant(size, tf.int32) for size in sizes))
        return {k: v[0].numpy() for k, v in merged.items()}

    def history(self) -> list[dict]:
        """The metrics of all evaluations, in the order of their lines."""
        return read_metrics(self._eval_dir / "metrics.jsonl")

    def _write_metrics(self, metrics: dict) -> None:
        self._eval_dir.mkdir(parents=True, exist_ok=True)
        write_text(self._eval_dir / "metrics.json", json.dumps(metrics, indent=1) + "\n")
        # A step that is evaluated again replaces its line.
        history = [entry for entry in self.history() if entry["step"] != metrics["step"]]
        write_text(self._eval_dir / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in [*history, metrics]))
