"""The measurements of trainer/benchmark.py."""
