"""Files in COCO's panoptic format (https://cocodataset.org/#format-data): a JSON and a folder of PNGs.

One format has the annotations of datasets and the predictions of a model. Nothing here imports TensorFlow.

  values       checks of single values of a JSON
  categories   the classes that a JSON lists
  segments     entries of `segments_info`
  annotations  reads a JSON
  pngs         reads PNGs; segment ids <-> colors
  names        names and ids of images, those of benchmarks included
  pairing      which images of two lists are the same
  panoptic_files  a JSON with its PNGs, as evaluation needs it
  results      writes predictions
"""
