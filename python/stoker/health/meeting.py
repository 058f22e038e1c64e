"""Where the tasks of a probe meet: the driver measures the way to each, waits until all have come or patience ends,
and tells each whom else to measure. Used by one thread; each task's link has a thread of its own."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from stoker.health.probe import NEIGHBOURS, PATIENCE, answer, hang_up, hear, listen, say

LATER = 60.0  # seconds that measuring may take a task


class Meeting:
    def __init__(self, bind: str, ports: tuple[int, int], workers: int) -> None:
        """Raises OSError where it cannot listen."""
        self.token = secrets.token_hex(16)
        self._workers = workers
        self._changed = threading.Condition()
        self._ready: dict[int, dict[str, Any]] = {}  # task to where others reach it
        self._measured = 0
        self._open, self._over = True, False  # may others still come? have all measured?
        self._first: float | None = None
        self._listener = _listen(bind, ports)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def wait(self, patience: float, ended: Callable[[], bool]) -> int:
        """Until all tasks stand at the door, or none more comes for `patience` seconds after the first, or the job has
        ended. Lets those who came measure each other, waits for that, and returns how many they were."""
        with self._changed:
            while len(self._ready) < self._workers and not ended() and not self._late(patience):
                self._changed.wait(0.05)
            self._open = False
            together = len(self._ready)
            self._changed.notify_all()
            until = time.monotonic() + LATER
            while self._measured < together and not ended() and time.monotonic() < until:
                self._changed.wait(0.05)
            self._over = True
            self._changed.notify_all()
            return together

    def close(self) -> None:
        hang_up(self._listener)

    def _late(self, patience: float) -> bool:
        return self._first is not None and time.monotonic() - self._first > patience

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._host, args=(link,), daemon=True).start()

    def _host(self, link: socket.socket) -> None:
        link.settimeout(PATIENCE)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(Exception), link, link.makefile("rwb") as stream:
            told = hear(stream)
            if not hmac.compare_digest(str(told.get("token", "")), self.token):
                return
            answer(stream)
            hear(stream)  # ready
            link.settimeout(LATER)
            met, peers = self._stand(told)
            say(stream, {"met": met, "peers": peers})
            try:
                hear(stream)  # measured
            finally:
                self._count(met)
            say(stream, {"bye": True})

    def _stand(self, told: dict[str, Any]) -> tuple[bool, list[dict[str, Any]]]:
        """Waits with the others. Who comes too late has nobody to measure."""
        with self._changed:
            if not self._open:
                return False, []
            self._first = self._first or time.monotonic()
            task = int(told["task"])
            self._ready[task] = {key: told[key] for key in ("task", "host", "name", "port")}
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._open)
            return True, neighbours(task, self._ready)

    def _count(self, met: bool) -> None:
        with self._changed:
            self._measured += met
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over, LATER)


def neighbours(task: int, ready: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The next ones after a task, in a ring, that listen."""
    order = sorted(ready)
    at = order.index(task)
    ring = order[at + 1 :] + order[:at]
    return [ready[other] for other in ring[:NEIGHBOURS] if ready[other]["port"]]


def _listen(bind: str, ports: tuple[int, int]) -> socket.socket:
    number = socket.getaddrinfo(bind, None, type=socket.SOCK_STREAM)[0][4][0]
    return listen(str(number), ports)
