"""Evaluation during a training, and of predictions in files."""
