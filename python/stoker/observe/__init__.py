"""Sinks of a fit's events: what a person sees, the log, the history."""

from __future__ import annotations

from typing import Protocol

from stoker.events import Event


class Sink(Protocol):
    def event(self, event: Event) -> None: ...


class Sinks:
    """Hands each event to all, in order. One thread."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = list(sinks)

    def add(self, sink: Sink) -> None:
        """From now on it is told, too."""
        self._sinks.append(sink)

    def event(self, event: Event) -> None:
        for sink in self._sinks:
            sink.event(event)
