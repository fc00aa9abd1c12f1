"""The modules of lib that a piece of code depends on: those it imports, and all that these import in turn.

They are read from the source (AST); nothing is imported. An import counts wherever it is: at the top, in a function, by
name ("lib.training.gan.dcgan" or f"lib.training.gan.{name}" as a registry writes it, the latter standing for every
module of that package). Importing a module runs the packages that it lies in, so these count as well. What does not
run on import does not count: the block under `if __name__ == "__main__"`, and that under `if TYPE_CHECKING`.
"""

import ast
import fnmatch
import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

_LIB = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"lib(\.[\w*]+)+(:\w+)?")  # a module in a string, with * for what is filled in, and its attribute
_HINT = re.compile(r"""["'](lib\.|\{__name__\})""")  # without it no string names a module: expressions are not read
_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def closure(codes: Iterable[str]) -> tuple[str, ...]:
    """Names of the modules of lib that the pieces of code `codes` depend on, sorted.

    Code that is not Python (a cell with magic) depends on all of lib.
    """
    behind = {name for code in codes for name in _imported(code, "")}
    found: set[str] = set()
    while behind:
        name = behind.pop()
        found.add(name)
        behind |= _imports_of(name) - found
    return tuple(sorted(found))


@functools.cache
def digest(module: str) -> bytes:
    """SHA-256 of the module's source; for a package also of the files in it that are no Python (manifests, pages)."""
    source = _modules()[module]
    files = [source]
    if source.name == "__init__.py":
        files += _data_of(source.parent)
    sha = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        sha.update(f"{path.relative_to(_LIB).as_posix()} {len(content)} ".encode() + content)
    return sha.digest()


@functools.cache
def _modules() -> dict[str, Path]:
    """Every module of lib and its file."""
    modules = {}
    for path in sorted(_LIB.rglob("*.py")):
        parts = ("lib", *path.relative_to(_LIB).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _data_of(package: Path) -> list[Path]:
    """The files of a package, not of the packages within it, that are no Python."""
    files = []
    for path in sorted(package.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            files += _data_of(path)
        elif path.is_file() and path.suffix != ".py" and not path.name.startswith("."):
            files.append(path)
    return files


@functools.cache
def _imports_of(module: str) -> frozenset[str]:
    parents = {module.rpartition(".")[0]} - {""}
    return frozenset(parents | _imported(_modules()[module].read_text(encoding="utf-8"), module))


def _imported(code: str, module: str) -> set[str]:
    """Modules of lib that `code`, which is that of `module`, names itself."""
    try:
        behind: list[ast.AST] = [ast.parse(code)]
    except SyntaxError:
        return set(_modules())
    found = set()
    kinds = (ast.AST,) if _HINT.search(code) else _STATEMENTS
    while behind:
        node = behind.pop()
        if isinstance(node, ast.If) and _is_never_true_on_import(node.test):
            behind += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {_module_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {_module_of(f"{node.module}.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            found |= _named(_text(node, module))
        behind += (child for child in ast.iter_child_nodes(node) if isinstance(child, kinds))
    return found - {""}


def _module_of(name: str) -> str:
    """The module that the dotted name of a module, or of a thing in one, leads to; empty if it is not of lib."""
    while name and name not in _modules():
        name = name.rpartition(".")[0]
    return name


def _named(text: str) -> set[str]:
    """The modules that a string names."""
    if not _NAME.fullmatch(text):
        return set()
    name = text.partition(":")[0]
    return set(fnmatch.filter(_modules(), name)) if "*" in name else {_module_of(name)}


def _text(node: ast.Constant | ast.JoinedStr, module: str) -> str:
    """A string as it is written, with `__name__` filled in and * for any other value of an f-string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            parts.append(module if ast.unparse(part.value) == "__name__" else "*")
        elif isinstance(part, ast.Constant):
            parts.append(str(part.value))
    return "".join(parts)


def _is_never_true_on_import(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare):
        return isinstance(test.left, ast.Name) and test.left.id == "__name__"
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
