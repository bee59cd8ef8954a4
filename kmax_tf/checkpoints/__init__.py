"""Weights on disk: readers of files, tables of names, and one function that assigns what was read and reports it."""
