"""Training on Lightning: task, optimisers, crash-safe checkpoints and the fit entry."""
