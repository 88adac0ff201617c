"""Directed graphs over ids: cycles and order, for task dependencies and supervisors."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID


def find_cycle(edges: Mapping[UUID, Sequence[UUID]]) -> list[UUID]:
    """One cycle of the graph, its first node again at the end, each node pointing to the next; empty without one."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        # graphlib lists a cycle in the direction "is needed by": turn it into "depends on".
        return list(reversed(error.args[1]))
    return []
