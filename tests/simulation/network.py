"""Virtual time and a network that delays, loses, duplicates, reorders and partitions, all from one seeded source of chance."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

EPOCH_MS = 1_700_000_000_000
"""Virtual time 0 as the nodes' clocks show it."""


STORM_STEPS: Final = 3_000_000
"""More happenings than this in one virtual second are messages that make messages: it would never be over."""


class Clock:
    """The queue of what happens next. Everything that happens in a world happens from here, one thing at a time."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when_ms: int, action: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._queue, (max(when_ms, self.now_ms), self._number, action, arguments))

    def after(self, delay_ms: int, action: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now_ms + delay_ms, action, *arguments)

    def run(self, until_ms: int, stop: Callable[[], bool] | None = None) -> None:
        """Let things happen until an instant, or until ``stop`` says so (asked now and then)."""
        steps = since = 0
        second = self.now_ms // 1_000
        while self._queue and self._queue[0][0] <= until_ms:
            self.now_ms, _, action, arguments = heapq.heappop(self._queue)
            action(*arguments)
            steps += 1
            since += 1
            if self.now_ms // 1_000 != second:
                second, since = self.now_ms // 1_000, 0
            assert since < STORM_STEPS, f"a storm of messages at {self.now_ms} ms: {action} {arguments}"
            if stop is not None and steps % 32 == 0 and stop():
                return
        self.now_ms = max(self.now_ms, until_ms)


@dataclass
class Weather:
    """How the network behaves now. Delays in milliseconds, chances in 0..1."""

    delay_min_ms: int = 5
    delay_max_ms: int = 40
    spike_chance: float = 0.0
    spike_ms: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    groups: tuple[int, ...] | None = None
    """Group of each node while partitioned: messages pass within a group only."""


@dataclass
class Network:
    """Carries messages between nodes by index. ``deliver`` is called at the instant of arrival."""

    clock: Clock
    random: Random
    size: int
    deliver: Callable[[int, int, Any], None]
    weather: Weather = field(default_factory=Weather)
    faults: Counter[str] = field(default_factory=Counter)

    def send(self, sender: int, receiver: int, message: Any) -> None:
        weather, random = self.weather, self.random
        if weather.groups is not None and weather.groups[sender] != weather.groups[receiver]:
            self.faults["partitioned"] += 1
            return
        if weather.loss and random.random() < weather.loss:
            self.faults["lost"] += 1
            return
        self._carry(sender, receiver, message)
        if weather.duplication and random.random() < weather.duplication:
            self.faults["duplicated"] += 1
            self._carry(sender, receiver, message)

    def broadcast(self, sender: int, message: Any) -> None:
        for receiver in range(self.size):
            if receiver != sender:
                self.send(sender, receiver, message)

    def _carry(self, sender: int, receiver: int, message: Any) -> None:
        weather = self.weather
        span_ms = weather.delay_max_ms - weather.delay_min_ms + 1
        delay = weather.delay_min_ms + int(self.random.random() * span_ms)
        if weather.spike_chance and self.random.random() < weather.spike_chance:
            self.faults["delayed"] += 1
            delay += self.random.randint(0, weather.spike_ms)
        self.clock.after(delay, self.deliver, sender, receiver, message)
