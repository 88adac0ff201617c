"""Import this before anything of CrewAI or LiteLLM: their switches, and a storage directory that goes with the run."""

import atexit
import shutil
import tempfile
from pathlib import Path

from domain.crew import environment

_STORAGE = tempfile.mkdtemp(prefix="regatta-crew-")
atexit.register(shutil.rmtree, _STORAGE, ignore_errors=True)
environment.prepare(Path(_STORAGE))
