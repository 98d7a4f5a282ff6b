"""Data sets of the TFDS catalogue: found, read, and prepared where that can be done."""
