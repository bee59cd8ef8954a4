"""From TFRecords to batches of training and evaluation."""
