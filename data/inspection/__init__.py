"""What data/inspect_dataset.py finds out about the records of a config, and its report."""
