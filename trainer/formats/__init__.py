"""Converts the network of an export to formats with a fixed input size."""
