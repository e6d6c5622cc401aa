"""Training machinery that knows nothing of poses: modules, batches, losses and figures."""
