"""Runs trained models for kmax_tf.Predictor: exported ones of each format, and checkpoints."""
