"""The input pipeline: from TFRecords to batches for training and evaluation."""
