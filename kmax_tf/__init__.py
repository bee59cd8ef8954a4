"""kMaX-DeepLab (k-means Mask Transformer) in TensorFlow: model, losses, post-processing and evaluation."""
