"""Converts mask and class logits to panoptic maps of the network input, and these to maps of the raw image."""
