"""Writing a prepared dataset: parallel, resumable, never half there under its final name."""
