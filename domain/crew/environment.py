"""What the process environment must say before crewai and litellm are imported; import nothing of them here.

Both libraries read their switches while they are imported, so `prepare` comes first in the worker. Importing any
module of this package sets those that need no directory, for tests and scripts that go straight to an adapter.
"""

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

SWITCHES: Final[Mapping[str, str]] = {
    "CREWAI_DISABLE_TELEMETRY": "true",  # telemetry would also replace our signal handlers
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the import tries to download the price map otherwise
    "LITELLM_MODE": "PRODUCTION",  # "DEV" loads a .env file of the working directory into our environment
    "PYTHON_DOTENV_DISABLED": "1",
}

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


def prepare(storage_dir: Path) -> None:
    """Set the switches and CrewAI's private directory, made if it is missing; then import both libraries calmly.

    The import takes seconds. Signal handlers and `warnings.warn` are what they were when it returns.
    """
    directory = storage_dir.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["CREWAI_STORAGE_DIR"] = str(directory)
    set_switches()
    with _process_state_kept():
        import_libraries()


def set_switches() -> None:
    """Set the environment variables that both libraries read while they are imported."""
    os.environ.update(SWITCHES)


def import_libraries() -> None:
    """Import crewai and litellm, and switch off what litellm does on the side."""
    import crewai  # noqa: F401, PLC0415 - the point is when they are imported
    import litellm  # noqa: PLC0415 - same

    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True  # it would ask a model hub and block the loop for 23 s
    litellm.telemetry = False


@contextmanager
def _process_state_kept() -> Iterator[None]:
    # Handlers can be set from the main thread only, so elsewhere there is nothing to undo either.
    kept: dict[int, _Handler] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    warn, environment = warnings.warn, dict(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # none of the imports' own warnings is about our code
            yield
    finally:
        warnings.warn = warn
        _forget_dotenv(environment)
        for number, handler in kept.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)


def _forget_dotenv(before: Mapping[str, str]) -> None:
    # Both imports may read a .env file of the working directory: its keys are not settings of ours.
    for name in os.environ.keys() - before.keys():
        if not name.startswith(("CREWAI_", "LITELLM_", "TIKTOKEN_")):
            del os.environ[name]
