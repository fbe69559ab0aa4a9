"""Prefect flows: when and where the DVC stages run."""
