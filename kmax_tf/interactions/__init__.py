"""Interactions between pixels and cluster centers in a decoder layer, one file each."""
