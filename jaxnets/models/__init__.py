"""Architectures: one a file, cited; `functional` is the seam to Flax."""
