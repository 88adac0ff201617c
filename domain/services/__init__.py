"""Use cases: one module per group, each use case fits on a screen and names its errors."""
