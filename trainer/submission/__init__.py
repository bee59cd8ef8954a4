"""Files for the test servers of benchmarks, made from predictions in COCO panoptic format."""
