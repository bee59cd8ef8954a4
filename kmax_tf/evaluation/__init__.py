"""Metrics: panoptic quality, mask AP and mIoU."""
