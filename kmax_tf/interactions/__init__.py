"""How pixels and cluster centers interact in a decoder layer: one file for each way."""
