"""One file an experiment: run it, or copy it and change it."""
