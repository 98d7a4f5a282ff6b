"""What a model is asked to do: a `Task` is four pure functions."""
