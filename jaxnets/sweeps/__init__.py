"""Many settings of one experiment: spaces, populations, search, workers."""
