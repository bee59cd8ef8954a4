"""Files in COCO's panoptic format (https://cocodataset.org/#format-data): a JSON and a folder of PNGs.

Dataset annotations and model predictions have the same format. Nothing here imports TensorFlow.

  values       checks of single values of a JSON
  categories   the classes in a JSON
  segments     entries of `segments_info`
  annotations  reads a JSON
  pngs         reads PNGs; segment ids <-> colors
  names        names and ids of images, including those of benchmarks
  pairing      matches the images of two lists
  panoptic_files  a JSON with its PNGs, for evaluation
  results      writes predictions
"""
