"""What data/inspect_dataset.py finds out about the records of a config, and how it tells it."""
