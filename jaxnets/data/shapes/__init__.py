"""A little language about pictures: scenes, what is true of them, and how to say it."""
