"""Repositories: named questions about one kind of thing, always within one tenant."""
