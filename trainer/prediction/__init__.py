"""Prediction of folders of images."""
