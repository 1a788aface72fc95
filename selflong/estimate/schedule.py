"""When each step begins and ends if jobs start as soon as their inputs and a node are there."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from selflong.estimate.steps import Step


@dataclass(frozen=True)
class Span:
    """Seconds from the start of the run."""

    begin: float
    end: float


def schedule(steps: Sequence[Step], nodes: int) -> dict[str, Span]:
    """Simulate the run: jobs in the order of the steps, on `nodes` nodes.

    A job that wants more nodes than there are gets all of them: elsewhere it is said that it does not
    fit. Steps with nodes 0 take none.
    """
    waiting = {step.name: set(step.after) for step in steps}
    left = {step.name: step.jobs for step in steps}
    queue = [step for step in steps for _ in range(step.jobs)]
    running: list[tuple[float, int, Step]] = []
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    free, now, started = nodes, 0.0, 0
    while queue or running:
        kept = []
        for step in queue:
            need = min(step.nodes, nodes)
            if waiting[step.name] or need > free:
                kept.append(step)
                continue
            free -= need
            started += 1
            begins.setdefault(step.name, now)
            heapq.heappush(running, (now + step.seconds, started, step))
        if not running:
            names = sorted({step.name for step in kept})
            raise ValueError(f"these steps wait for ever: {', '.join(names)}")
        queue = kept
        now, _, done = heapq.heappop(running)
        free += min(done.nodes, nodes)
        left[done.name] -= 1
        if left[done.name] == 0:
            ends[done.name] = now
            for before in waiting.values():
                before.discard(done.name)
    return {step.name: Span(begins[step.name], ends[step.name]) for step in steps}


def peak_bytes(steps: Sequence[Step], spans: dict[str, Span]) -> float:
    """Most bytes on disk at once: what is kept, from its begin on, and the work of what runs."""
    changes: list[tuple[float, int, float]] = []
    for step in steps:
        span = spans[step.name]
        changes.append((span.begin, 1, step.kept_bytes + step.work_bytes))
        changes.append((span.end, 0, -step.work_bytes))
    peak = held = 0.0
    for _, _, change in sorted(changes):
        held += change
        peak = max(peak, held)
    return peak
