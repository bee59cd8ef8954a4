"""Synthetic scenes for the demo."""
