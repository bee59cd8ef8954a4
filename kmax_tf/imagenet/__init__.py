"""Starting the encoder from weights that were trained on ImageNet."""
