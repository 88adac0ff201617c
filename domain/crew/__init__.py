"""CrewAI and LiteLLM, fenced in: only a worker process may import this package."""
