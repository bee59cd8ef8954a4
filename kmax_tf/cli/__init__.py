"""Shared code of all commands: flags, progress, and one-line error messages with exit codes."""
