"""From images and annotations to TFRecord shards."""
