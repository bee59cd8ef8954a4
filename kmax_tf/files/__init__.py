"""Files and folders: patterns, locks and atomic writes."""
