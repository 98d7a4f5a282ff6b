"""From columns to batches: a batch is a function of the step."""
