"""What surrounds a learner: the loop, the run folder, checkpoints, records, devices."""
