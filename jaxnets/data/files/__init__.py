"""Local files that somebody else wrote, strictly read."""
