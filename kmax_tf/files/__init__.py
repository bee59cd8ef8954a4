"""Files and folders: patterns, locks, replacement in one step."""
