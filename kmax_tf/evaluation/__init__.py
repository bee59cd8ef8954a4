"""Metrics: panoptic quality, mask AP and mIoU."""

from kmax_tf.evaluation.evaluator import PanopticEvaluator
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segments import EvaluationError, Segment, count_labels, decode_segments

__all__ = ["EvaluationError", "PanopticEvaluator", "PanopticQuality", "Segment", "count_labels", "decode_segments"]
