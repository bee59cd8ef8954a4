"""Loads weights: file readers, name tables, and one function that assigns the weights and reports the result."""
