"""CrewAI and LiteLLM, fenced in: only a worker process may import this package."""

from domain.crew.environment import set_switches

set_switches()
