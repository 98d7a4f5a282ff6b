"""Where batches come from: files and generators go in, `jax.Array`s leave."""
