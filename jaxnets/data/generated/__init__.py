"""Data sets that are drawn or come with Python and its packages: no download."""
