"""One module per DVC stage: parameters and paths in, files out."""
