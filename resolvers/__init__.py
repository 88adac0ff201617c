"""Delegation from fields of the graph to the domain; no SQL, no model call."""
