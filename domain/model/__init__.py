"""The things of the domain and their rules: pure data and pure functions."""
