"""What trainer/benchmark.py measures, and how."""
