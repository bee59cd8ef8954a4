"""Converts mask and class logits to a panoptic map at the size of the raw image."""
