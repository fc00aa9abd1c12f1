"""Mappings out of YAML files that may be damaged or hostile, with the lines at which their entries stand."""

import math
from pathlib import Path
from typing import Any, NoReturn

import yaml

from lib.core.regular_files import require_regular

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that of libyaml is ten times faster
_LARGEST = 1 << 24  # bytes of a file
_DEEPEST = 50  # lists and mappings within each other
_LONGEST = 200  # characters of what a sentence quotes


def read_mapping(path: Path) -> tuple[dict, yaml.MappingNode]:
    """The mapping in the YAML file at `path`, and its tree, of which `line_of` tells lines.

    Raises ValueError, in one sentence that names the file and, where known, the line, for what is no YAML mapping, not
    UTF-8, a pipe or a device, over 16 MB or 50 levels deep; and for a key that stands twice or is no scalar, an anchor
    or alias, since nine of them make a billion entries, and a number that is NaN or infinite.
    """
    require_regular(path)
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path}: more than {_LARGEST:,} bytes; give a file that people wrote")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    try:
        _require_plain(text, path)
        loader = _Loader(text)
        tree = loader.get_single_node()
        if not isinstance(tree, yaml.MappingNode):
            raise ValueError(f"{path}: holds no keys; give a mapping")
        _require_sound(tree, path)
        return loader.construct_document(tree), tree
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise ValueError(f"{where}: not YAML ({_quoted(problem or error)})") from error


def line_of(node: yaml.Node, keys: tuple) -> int:
    """The line at which the last of `keys` that the file holds stands."""
    line = node.start_mark.line
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(key)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            node = node.value[key]
            line = node.start_mark.line
        else:
            break
    return line + 1


def _require_plain(text: str, path: Path) -> None:
    """Raise ValueError for depth, anchors and aliases, before anything that calls itself has the file."""
    deep = 0
    for event in yaml.parse(text, _Loader):
        if getattr(event, "anchor", None) is not None:
            _refuse(path, event, f"an anchor or alias, {_quoted(event.anchor)}; write out what it stands for")
        deep += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if deep > _DEEPEST:
            _refuse(path, event, f"more than {_DEEPEST} lists or mappings within each other; write it flatter")


def _require_sound(node: yaml.Node, path: Path) -> None:
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _require_sound(child, path)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(path, key, "a key that is a list or a mapping; give a name")
            if key.value in seen:
                _refuse(path, key, f"{_quoted(key.value)}: stands twice; keep one")
            seen.add(key.value)
            _require_sound(child, path)
    elif isinstance(node, yaml.ScalarNode):
        _require_sound_scalar(node, path)


def _require_sound_scalar(node: yaml.ScalarNode, path: Path) -> None:
    try:
        value = _Loader("").construct_object(node)
    except (ValueError, OverflowError) as error:  # of a date that is none, of a number with thousands of digits
        _refuse(path, node, f"{_quoted(node.value)} cannot be read ({_quoted(error)})", error)
    if isinstance(value, str) and not node.style:  # YAML takes 1e400 for text, and pydantic for a number
        try:
            value = float(value)
        except ValueError:
            return
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(path, node, f"{_quoted(node.value)} is no finite number; give one")


def _refuse(path: Path, at: yaml.Node | yaml.Event, why: str, error: Exception | None = None) -> NoReturn:
    raise ValueError(f"{path}:{at.start_mark.line + 1}: {why}") from error


def _quoted(of) -> str:
    text = " ".join(str(of).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
