"""The two views of the demo, on a terminal of 80 columns and into a pipe."""

import contextlib
import re
from io import StringIO
from typing import Any

from rich.console import Console

from app.demo_view import ROUTED, LiveView, PlainView, introduction, line_of, money, summary, view_for

EXECUTION: dict[str, Any] = {
    "status": "COMPLETED",
    "output": "# The page\n\nWords.",
    "failure": None,
    "usage": {"calls": 3, "totalTokens": 1234, "cost": {"amount": "0.0123", "currency": "USD"}},
}
FAILED: dict[str, Any] = {
    **EXECUTION,
    "status": "FAILED",
    "output": None,
    "failure": {"code": "MODEL_REFUSED", "message": "No such key."},
}
PROGRESS: dict[str, Any] = {
    "execution": {"status": "RUNNING"},
    "roles": [
        {
            "title": "A role with a name that is much too long for its column",
            "status": "RUNNING",
            "currentTask": "A task with a name that is much too long as well",
            "doneTasks": 1,
            "totalTasks": 2,
            "totalTokens": 1234567,
            "cost": {"amount": "0.000000123456", "currency": "USD"},
        }
    ],
    "doneTasks": 1,
    "totalTasks": 2,
    "totalTokens": 1234567,
    "cost": {"amount": "12.3456789", "currency": "USD"},
}


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"__typename": kind, "role": {"title": "Copywriter"}, **fields}


BATCH = {
    "events": [
        _event("TaskStarted", name="Launch page", model="simulated/regatta", attempt=1),
        _event("OutputStreamed", text="First line.\nSecond "),
        _event("OutputStreamed", text="line."),
        _event("ToolCalled", tool="calculator", arguments="{}"),
        _event("TaskFailed", name="Launch page", reason="It rained.", willRetry=True),
        _event("TaskCompleted", name="Launch page", totalTokens=1200, cost={"amount": "0", "currency": "USD"}),
    ]
}


def _terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=80, height=24, color_system=None, highlight=False)


def _written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_lines_and_a_terminal_a_live_view() -> None:
    pipe = Console(file=StringIO(), force_terminal=False)

    assert isinstance(view_for("simulated/regatta", pipe), PlainView)
    assert isinstance(view_for("simulated/regatta", _terminal()), LiveView)


def test_lines_tell_everything_in_order_and_keep_streamed_text_together() -> None:
    console = Console(file=StringIO(), force_terminal=False, width=80)
    view = PlainView(console, "simulated/regatta")

    with view:
        view.status("Starting")
        view.take_events(BATCH)
        view.take_progress(PROGRESS)
    view.result(EXECUTION, 12.34, 5.67)
    view.note("See it.")

    written = _written(console)
    told = ["simulated model", "Starting.", "begins “Launch page”", "    | First line.\n    | Second line.\n"]
    told += ["uses calculator", "It rained. Once more.", "finished “Launch page”: 1,200 tokens, 0 USD", "# The page"]
    places = [written.index(each) for each in told]
    assert places == sorted(places)
    assert written.endswith("COMPLETED: 3 model calls, 1,234 tokens, 0.0123 USD; start 12.3 s, work 5.7 s.\nSee it.\n")


def test_a_terminal_of_80_columns_shows_roles_text_and_result_within_its_width() -> None:
    console = _terminal()
    view = LiveView(console, "simulated/regatta")

    with view:
        view.status("Starting")
        view.take_progress(PROGRESS)
        view.take_events(BATCH)
        view.take_events({"events": [_event("OutputStreamed", text=f"{line} {'word ' * 30}\n") for line in range(40)]})
        with console.capture() as captured:
            console.print(view._drawn())  # noqa: SLF001 - what Live draws from its own thread
    view.result(EXECUTION, 1.0, 1.0)

    frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", captured.get())
    assert max(map(len, frame.splitlines())) <= 80
    assert len(frame.splitlines()) <= 24
    assert "running: 1 of 2 tasks, 1,234,567 tokens, 12.3456789 USD" in frame
    assert " 0.000000123456 USD\n" in frame
    assert "Copywriter · Launch page · simulated/regatta" in frame
    assert "39 word" in frame
    assert "Result" in _written(console)


def test_an_interruption_leaves_no_table_that_claims_to_run() -> None:
    console = _terminal()
    view = LiveView(console, None)

    with contextlib.suppress(KeyboardInterrupt), view:
        view.take_progress(PROGRESS)
        raise KeyboardInterrupt

    with console.capture() as captured:
        console.print(view._drawn())  # noqa: SLF001 - what Live drew last
    assert captured.get().strip() == ""


def test_a_failure_is_shown_with_its_code() -> None:
    console = _terminal()

    LiveView(console, "openai/gpt").result(FAILED, 1.0, 1.0)

    assert "MODEL_REFUSED: No such key." in _written(console)
    assert "FAILED" in _written(console).splitlines()[-1]


def test_a_real_model_is_not_called_simulated() -> None:
    assert "simulated" not in introduction("openai/gpt")
    assert "model" not in introduction(None)
    assert "simulated model" in introduction("simulated/regatta")
    assert "routed" in introduction(ROUTED)


def test_amounts_keep_all_their_digits_and_no_needless_zeros() -> None:
    assert money({"amount": "0.000000000000", "currency": "USD"}) == "0 USD"
    assert money({"amount": "0.000036300000", "currency": "USD"}) == "0.0000363 USD"
    assert money({"amount": "1E-7", "currency": "USD"}) == "0.0000001 USD"
    assert money({"amount": "120", "currency": "USD"}) == "120 USD"


def test_one_call_is_no_plural() -> None:
    one = {**EXECUTION, "usage": {**EXECUTION["usage"], "calls": 1}}

    assert summary(one, 1.0, 1.0).startswith("COMPLETED: 1 model call, ")


def test_events_without_news_have_no_line() -> None:
    assert line_of({"__typename": "ModelCalled", "role": None}) is None


def test_a_tasks_first_call_says_which_model_it_is_given_and_why() -> None:
    decision = {"model": "test/model", "reason": "FAST and SIMPLE ask for LOCAL."}

    first = line_of(_event("RoutingDecided", call=1, decision=decision))

    assert first == "Copywriter is given test/model: FAST and SIMPLE ask for LOCAL."
    assert line_of(_event("RoutingDecided", call=2, decision=decision)) is None
