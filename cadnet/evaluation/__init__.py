"""Scoring: counts per image on the device, and every number as a reduction of those counts."""
