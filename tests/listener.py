"""What a run tells its reporter, kept."""

from __future__ import annotations

from typing import Any


class Listener:
    """A reporter that keeps the steps, the ends of epochs and the words."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.epochs: list[Any] = []
        self.said: list[str] = []

    def step(self, progress: object) -> None:
        self.steps.append(progress)

    def epoch(self, summary: object) -> None:
        self.epochs.append(summary)

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say

    def heard(self, words: str) -> bool:
        return any(words in line for line in self.said)
