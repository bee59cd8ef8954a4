"""The losses of kMaX-DeepLab: one file per term, and the criterion that sums them."""

from kmax_tf.losses.criterion import build_loss

__all__ = ["build_loss"]
