"""Files in COCO's panoptic format (https://cocodataset.org/#format-data): a JSON and a folder of PNGs.

Dataset annotations and model predictions have the same format. Nothing here imports TensorFlow.
"""
