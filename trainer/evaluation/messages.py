"""What an evaluation prints."""

from collections.abc import Mapping
from typing import Any

from kmax_tf.postprocessing.postprocessor import merge_rule
from protos import evaluator_pb2
from trainer.evaluation.metrics_files import TITLES


def summary_line(metrics: Mapping[str, Any]) -> str:
    parts = [f"{title} {metrics[key]:.1f}" for key, title in TITLES.items() if metrics[key] is not None]
    return f"evaluation at step {metrics['step']}: {'  '.join(parts) or 'no metric is defined, no image shows a class'}"


def why_zero(metrics: Mapping[str, Any], confidence: float, options: evaluator_pb2.EvaluatorOptions) -> str:
    """Explains a PQ of 0; `confidence` is the highest class confidence of all masks, 0..1."""
    passed = sum(of_class["tp"] + of_class["fp"] for of_class in metrics["per_class"].values())
    why = "none of them matches an object yet" if passed else "early in a training run, that is normal"
    return (
        f"PQ is 0: {passed} predicted segments passed the thresholds and area limits; the highest class confidence of all "
        f"masks is {confidence:.2f} (evaluator_options: {merge_rule(options).thresholds(options)}, thing_area_limit "
        f"{options.thing_area_limit}, stuff_area_limit {options.stuff_area_limit}): {why}"
    )
