"""The pipeline around the library: DVC stages and Prefect flows."""
