"""Prefect flows: when and where the DVC stages run.

Throughout, ``root`` is the project's folder and ``log`` takes a line for the user.
"""
