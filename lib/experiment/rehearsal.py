"""What of a paper's published numbers is cut for a rehearsal, and to what (`lib.runner.rehearsal`)."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Rehearsal(BaseModel):
    """The entry `rehearsal` of a paper.yaml.

    cut: setting ("patients", or "walk.steps" within a mapping) -> the least that it can be. What it counts is cut to
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
        for name, value in self.instead.items():
            _known(few, name)
            few[name] = value
        for name in self.once:
            few[name] = min(1, _known(few, name))
        for path, least in self.cut.items():
            name, _, within = path.partition(".")
            whole = _known(few, name)
            if within:
                few[name] = whole | {within: self._few(_known(whole, within), least, number)}
            else:
                few[name] = self._few(whole, least, number)
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


def _known(settings: dict[str, Any], name: str):
    if name not in settings:
        raise ValueError(f"no setting {name!r} to be cut: choose one of {', '.join(settings)}")
    return settings[name]
