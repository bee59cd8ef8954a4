"""A fake model for tests of how its predictions are handled."""

import numpy as np

from protos.descriptions import DatasetInfo


class CountingModel:
    """Predicts a disc in the left half of an image and grass in the rest, with scores computed from the image."""

    def __init__(self, info: DatasetInfo, fail_at: int = -1):
        """`fail_at`: the number of the call that raises KeyboardInterrupt."""
        self.calls = 0
        self._labels = [c.id * info.label_divisor + c.is_thing for c in info.classes if c.name in ("disc", "grass")]
        self._fail_at = fail_at

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        if self.calls == self._fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        left = np.arange(image.shape[1]) < image.shape[1] // 2
        scores = (image.astype(np.float32) / 255).max(-1)
        return {
            "panoptic_pred": np.broadcast_to(np.where(left, *self._labels), image.shape[:2]).astype(np.int32),
            "semantic_scores": scores,
            "instance_scores": 1 - scores / 2,
        }
