"""Evaluation during a training run, and of predictions in files."""
