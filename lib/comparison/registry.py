"""The table that holds methods, attacks or measures by the name that they are printed under."""

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


class Registry(Generic[Entry]):
    """Entries of one `kind` ("method") by name. Iteration goes group by group, within one as they were registered.

    Raises ValueError for a name or group that is not known, and for a second entry of one name.
    """

    def __init__(self, kind: str, groups: Sequence[str]):
        self.kind, self.groups = kind, tuple(groups)
        self._entries: dict[str, Entry] = {}

    def register(self, entry: Entry) -> Entry:
        """Add `entry` and return it."""
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} {entry.name!r} is registered already: give each its own name")
        self._require_group(entry.group)
        self._entries[entry.name] = entry
        return entry

    def of(self, *groups: str) -> tuple[Entry, ...]:
        """The entries of these groups, in the order of the registry."""
        for group in groups:
            self._require_group(group)
        return tuple(entry for entry in self if entry.group in groups)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each entry."""
        return tuple(entry.name for entry in self)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise ValueError(f"unknown {self.kind} {name!r}: choose one of {', '.join(self.names)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: self.groups.index(entry.group)))

    def __len__(self) -> int:
        return len(self._entries)

    def _require_group(self, group: str) -> None:
        if group not in self.groups:
            raise ValueError(f"unknown {self.kind} group {group!r}: choose one of {', '.join(self.groups)}")
