"""What one kind of experiment measures, draws and prints beside its training."""
