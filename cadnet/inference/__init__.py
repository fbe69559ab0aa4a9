"""Trained networks outside training: export."""
