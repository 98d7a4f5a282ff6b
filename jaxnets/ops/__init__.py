"""Parameter-free functions of arrays."""
