"""The config that data/build_panoptic.py writes for a new dataset."""
