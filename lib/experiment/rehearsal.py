"""What of a paper's published numbers is cut for a rehearsal, and to what (`lib.runner.rehearsal`)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Rehearsal(BaseModel):
    """The entry `rehearsal` of a paper.yaml.

    cut: setting ("patients", or "walk.points" within a mapping) -> the least that it can be. What it counts is cut to
    one and to two parts of `parts`, each entry of a list for itself, so that what grows with it is seen to grow. once:
    settings that count whole repetitions, of which one is rehearsed. instead: setting -> the value that few images
    need, such as a quantile that their pairs can have. Image sizes, networks, batches and the numbers of steps and
    epochs stay as published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: int = Field(default=1, ge=1)
    cut: dict[str, int] = Field(default_factory=dict)
    once: list[str] = Field(default_factory=list)
    instead: dict[str, Any] = Field(default_factory=dict)

    def settings(self, published: dict[str, Any], number: int) -> dict[str, Any]:
        """The settings `published`, cut to `number` parts. ValueError for a setting that is not among them."""
        few = dict(published)
        for path, value in self.instead.items():
            _change(few, path, partial(_instead, value))
        for name in self.once:
            _change(few, name, lambda whole: min(1, whole))
        for path, least in self.cut.items():
            _change(few, path, partial(self._few, least=least, number=number))
        return few

    def repetitions(self, published: dict[str, Any]) -> int:
        """How often the whole is repeated at the published numbers."""
        return math.prod(published[name] for name in self.once)

    def _few(self, value, least: int, number: int):
        if isinstance(value, list):
            return [self._few(entry, least, number) for entry in value]
        if isinstance(value, dict):
            return {key: self._few(entry, least, number) for key, entry in value.items()}
        return min(value, max(least * number, math.ceil(value * number / self.parts)))


def _instead(value: Any, _) -> Any:
    return value


def _change(settings: dict[str, Any], path: str, change: Callable[[Any], Any]) -> None:
    """Put what `change` makes of a setting, or of an entry within it, in its place."""
    name, _, within = path.partition(".")
    if name not in settings:
        raise ValueError(f"no setting {name!r} to be cut: choose one of {', '.join(settings)}")
    if not within:
        settings[name] = change(settings[name])
    else:
        settings[name] = dict(settings[name])
        _change(settings[name], within, change)
