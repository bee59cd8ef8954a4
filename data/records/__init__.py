"""TFRecords: their schema, the coding of labels, and an index that reads any of them."""
