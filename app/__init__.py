"""The composition root: HTTP, pub/sub, durable execution, the command line."""
