"""Networks: encoders, heads and the factory that builds them by name."""
