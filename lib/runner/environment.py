"""Whether this Python has what pyproject.toml asks for: `python -m lib.runner.environment [EXTRA…]`.

Prints what is missing and exits with 1, or exits with 0. Imports nothing of it, so that it takes no time.
"""

import importlib.metadata
import sys
import tomllib
from pathlib import Path


def missing(extras: list[str]) -> list[str]:
    """The requirements of pyproject.toml, with those of `extras`, that are absent or of another version."""
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [need for extra in extras for need in project["optional-dependencies"][extra]]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ["nearly everything"]
    unmet = []
    for need in map(Requirement, wanted):
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or not need.specifier.contains(version, prereleases=True):
            unmet.append(str(need))
    return unmet


if __name__ == "__main__":
    unmet = missing(sys.argv[1:])
    print(f"without {', '.join(unmet[:3])}{' and others' if len(unmet) > 3 else ''}" if unmet else "complete")
    sys.exit(bool(unmet))
