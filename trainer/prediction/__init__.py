"""Prediction of folders of images, and the path from an image to its maps that SavedModels contain."""
