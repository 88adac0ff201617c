"""What `regatta demo` shows: a table and the text being written on a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

Answer = Mapping[str, Any]

_LEAST_LINES: Final = 4
_FRAME_LINES: Final = 12  # everything around the streamed text
_KEPT_CHARACTERS: Final = 8_000
_COLOURS: Final = {
    "RUNNING": "bold cyan",
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
}


class DemoView(Protocol):
    """Shows one execution. Entered before anything is shown, left before the result."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def status(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def take_events(self, batch: Answer) -> None: ...
    def take_progress(self, progress: Answer) -> None: ...
    def result(self, execution: Answer, starting: float, working: float) -> None: ...


ROUTED: Final = "routed"
"""Instead of a model's name: each task gets one of its own."""


def view_for(model: str | None, console: Console | None = None) -> DemoView:
    """A live view on a terminal, lines elsewhere; without a model where that is the server's business."""
    console = console or Console(highlight=False)
    is_live = console.is_terminal and not console.is_dumb_terminal
    return LiveView(console, model) if is_live else PlainView(console, model)


def introduction(model: str | None) -> str:
    """What is about to be seen, and on which model where that is known."""
    if model is None:
        return "A team of three launches a product."
    if model == ROUTED:
        return (
            "A team of three launches a product; each task is routed to a model that fits: of providers with a key in"
            " the environment, or else simulated, without account and network."
        )
    kind = "simulated model" if model.startswith("simulated/") else "model"
    return f"A team of three launches a product, on the {kind} {model}."


def money(cost: Answer) -> str:
    """Exact and without needless zeros, like `0.0000363 USD`."""
    digits = f"{Decimal(cost['amount']):f}"
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} {cost['currency']}"


def summary(execution: Answer, starting: float, working: float) -> str:
    """What came of it and what it took; durations in seconds."""
    usage = execution["usage"]
    calls = f"{usage['calls']} model call{'' if usage['calls'] == 1 else 's'}"
    spent = f"{usage['totalTokens']:,} tokens, {money(usage['cost'])}"
    return f"{execution['status']}: {calls}, {spent}; start {starting:.1f} s, work {working:.1f} s."


class PlainView:
    """Lines that never change: for a pipe, a file, a log."""

    def __init__(self, console: Console, model: str | None) -> None:
        self._console = console
        self._model = model
        self._began = time.monotonic()
        self._unfinished = ""

    def __enter__(self) -> Self:
        self._say(introduction(self._model))
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_line()

    def status(self, text: str) -> None:
        self._tell(f"{text}.")

    def note(self, text: str) -> None:
        self._say(text)

    def take_events(self, batch: Answer) -> None:
        for event in batch["events"]:
            if event["__typename"] == "OutputStreamed":
                self._stream(event["text"])
            elif line := line_of(event):
                self._finish_line()
                self._tell(line)

    def take_progress(self, progress: Answer) -> None:
        """Everything worth a line is an event."""

    def result(self, execution: Answer, starting: float, working: float) -> None:
        self._say(f"\n{_outcome(execution)}\n\n{summary(execution, starting, working)}")

    def _stream(self, text: str) -> None:
        *lines, self._unfinished = f"{self._unfinished}{text}".split("\n")
        for line in lines:
            self._say(f"    | {line}")

    def _finish_line(self) -> None:
        if self._unfinished:
            self._stream("\n")

    def _tell(self, text: str) -> None:
        self._say(f"[{time.monotonic() - self._began:5.1f} s] {text}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def line_of(event: Answer) -> str | None:
    """What happened, for people; None for what need not be told."""
    role = (event.get("role") or {}).get("title", "The team")
    line: str | None
    match event["__typename"]:
        case "ExecutionStarted":
            line = "A worker took the execution."
        case "TaskStarted":
            line = f"{role} begins “{event['name']}” on {event['model']}."
        case "TaskCompleted":
            line = f"{role} finished “{event['name']}”: {event['totalTokens']:,} tokens, {money(event['cost'])}."
        case "TaskFailed":
            line = f"{role} failed at “{event['name']}”: {event['reason']}{' Once more.' if event['willRetry'] else ''}"
        case "RoutingDecided" if event["call"] == 1:  # further calls of a task mostly say the same
            line = f"{role} is given {event['decision']['model']}: {event['decision']['reason']}"
        case "ToolCalled":
            line = f"{role} uses {event['tool']}: {event['arguments']}"
        case _:
            line = None
    return line


def _outcome(execution: Answer) -> str:
    failure = execution["failure"]
    return str(execution["output"] or (f"{failure['code']}: {failure['message']}" if failure else ""))


class LiveView:
    """A table of roles and the tail of what is being written, drawn anew several times a second."""

    def __init__(self, console: Console, model: str | None) -> None:
        self._console = console
        self._model = model
        self._spinner = Spinner("dots", "")
        self._progress: Answer | None = None
        self._writer = ""
        self._task = ""
        self._task_model = ""
        self._text = ""
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=10, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._console.print(introduction(self._model), style="dim")
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._spinner = Spinner("dots", "")
        self._text = ""
        if kind is not None:  # it will not become true any more
            self._progress = None
        self._live.stop()

    def status(self, text: str) -> None:
        self._spinner.update(text=f"{text} …")

    def note(self, text: str) -> None:
        self._console.print(Text(text))

    def take_events(self, batch: Answer) -> None:
        for event in batch["events"]:
            self._take(event)

    def take_progress(self, progress: Answer) -> None:
        self._progress = progress
        self._spinner.update(text="The team is at work")

    def result(self, execution: Answer, starting: float, working: float) -> None:
        done = execution["status"] == "COMPLETED"
        shown: RenderableType = Markdown(_outcome(execution)) if done else Text(_outcome(execution))
        self._console.print(Panel(shown, title="Result", border_style="green" if done else "red"))
        self._console.print(summary(execution, starting, working), style="bold")

    def _take(self, event: Answer) -> None:
        if event["__typename"] == "TaskStarted":
            self._writer, self._task, self._text = event["role"]["title"], event["name"], ""
            self._task_model = event["model"]
        elif event["__typename"] == "OutputStreamed":
            self._text = f"{self._text}{event['text']}"[-_KEPT_CHARACTERS:]
        elif event["__typename"] in {"TaskFailed", "ToolCalled"} and (line := line_of(event)):
            self._console.print(Text(line, style="yellow"))

    def _drawn(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._progress is not None:
            parts += [_table(self._progress["roles"]), _overall(self._progress)]
        if self._text:
            parts.append(self._panel())
        return Group(*parts, self._spinner) if self._spinner.text else Group(*parts)

    def _panel(self) -> Panel:
        """As many of the last lines as the terminal has room for."""
        width = max(self._console.width - 4, 20)
        room = max(self._console.height - _FRAME_LINES, _LEAST_LINES)
        lines = Text(self._text.rstrip("\n")).wrap(self._console, width)
        title = f"{self._writer} · {self._task} · {self._task_model}"
        return Panel(Text("\n").join(lines[-room:]), title=title, border_style="cyan")


def _table(roles: Sequence[Answer]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column("Role", no_wrap=True, ratio=3)
    table.add_column("State", no_wrap=True, width=9)
    table.add_column("Task", no_wrap=True, ratio=3)
    table.add_column("Done", no_wrap=True, width=6)
    table.add_column("Tokens", no_wrap=True, justify="right", width=7)
    table.add_column("Cost", no_wrap=True, justify="right", min_width=10)
    for role in roles:
        table.add_row(
            role["title"],
            Text(role["status"].lower(), style=_COLOURS.get(role["status"], "dim")),
            role["currentTask"] or "",
            ProgressBar(total=max(role["totalTasks"], 1), completed=role["doneTasks"], width=6),
            f"{role['totalTokens']:,}",
            money(role["cost"]),
        )
    return table


def _overall(progress: Answer) -> Text:
    done = f"{progress['doneTasks']} of {progress['totalTasks']} tasks"
    spent = f"{progress['totalTokens']:,} tokens, {money(progress['cost'])}"
    return Text(f"{progress['execution']['status'].lower()}: {done}, {spent}", style="bold")
