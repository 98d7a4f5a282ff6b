"""One file a claim of the course: a number and a picture."""
