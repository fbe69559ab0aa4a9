"""Losses as pure functions and the one module that combines them."""
