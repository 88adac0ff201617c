"""The journal of an attempt at a task: every finished call, so that a run that takes it up again pays none twice."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from threading import Lock
from typing import Any

from domain.model.identity import ExecutionId, LedgerEntryId, TaskExecutionId, TenantId, utc_now


class CallKind(Enum):
    """What was called."""

    MODEL = "MODEL"
    TOOL = "TOOL"


@dataclass(frozen=True, slots=True)
class CallKey:
    """One call of an attempt: what it asked, and which of the calls that asked just that, from 1."""

    kind: CallKind
    request_hash: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.request_hash}:{self.occurrence}"


@dataclass(slots=True)
class JournalEntry:
    """A call of an attempt. `answer` None: begun, and nobody knows what became of it (a tool that cannot be repeated).

    `ordinal` is its place among the calls of its kind in the attempt, from 1; `ledger_entry_id` what a model call cost.
    """

    tenant_id: TenantId
    execution_id: ExecutionId
    task_execution_id: TaskExecutionId
    attempt: int
    kind: CallKind
    request_hash: str
    occurrence: int
    ordinal: int
    answer: dict[str, Any] | None = None
    ledger_entry_id: LedgerEntryId | None = None
    recorded_at: datetime = field(default_factory=utc_now)

    @property
    def key(self) -> CallKey:
        return CallKey(self.kind, self.request_hash, self.occurrence)


class Journal:
    """What is known of the calls of one attempt; safe to use from its threads.

    `attempts_before` counts, for each model call by its number, the HTTP attempts that earlier runs made.
    """

    def __init__(self, entries: Iterable[JournalEntry] = (), attempts_before: Mapping[int, int] | None = None) -> None:
        self.attempts_before = attempts_before or {}
        self._entries = {entry.key: entry for entry in entries}
        self._asked: Counter[tuple[CallKind, str]] = Counter()
        self._ordinals: Counter[CallKind] = Counter()
        self._unasked = sum(key.kind is CallKind.MODEL for key in self._entries)
        self._lock = Lock()

    @property
    def is_replaying(self) -> bool:
        """Whether an earlier run came further than this one: it made the next model call, and told what leads to it."""
        return self._unasked > 0

    def next(self, kind: CallKind, request: Any) -> tuple[CallKey, int, JournalEntry | None]:
        """The key and the ordinal of a call that is about to be made, and what is known of it from an earlier run."""
        hashed = hash_of(request)
        with self._lock:
            self._asked[kind, hashed] += 1
            self._ordinals[kind] += 1
            key = CallKey(kind, hashed, self._asked[kind, hashed])
            known = self._entries.get(key)
            if kind is CallKind.MODEL:
                # Behind the first call that is new, whatever else is known was asked on another way.
                self._unasked = self._unasked - 1 if known else 0
            return key, self._ordinals[kind], known


def hash_of(request: Any) -> str:
    """The hash by which a request is known again; equal JSON has equal hashes."""
    text = json.dumps(request, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
