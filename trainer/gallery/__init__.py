"""A gallery of an evaluation: a folder that a browser opens from disk, without a server or network."""
