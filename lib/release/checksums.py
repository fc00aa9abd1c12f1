"""CHECKSUMS of a folder, as `sha256sum --check CHECKSUMS` reads them."""

from pathlib import Path

from lib.core.files import atomic
from lib.core.manifest import sha256

FILE = "CHECKSUMS"


def write_checksums(folder: str | Path) -> Path:
    """Write the SHA-256 of every other file below `folder` into its CHECKSUMS, and return that path."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    with atomic(folder / FILE) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    return folder / FILE


def listing(folder: str | Path) -> list[dict]:
    """The files that the CHECKSUMS of `folder` lists, a row each: name, bytes, and the SHA-256's first 16 digits."""
    lines = (Path(folder) / FILE).read_text(encoding="utf-8").splitlines()
    parted = [(name, digest) for digest, _, name in (line.partition("  ") for line in lines)]
    size = {name: (Path(folder) / name).stat().st_size for name, _ in parted}
    return [{"file": name, "bytes": size[name], "SHA-256": f"{digest[:16]}…"} for name, digest in parted]


def damages(folder: str | Path) -> list[str]:
    """What of `folder` is not as its CHECKSUMS say, a phrase each: absent, changed, or not listed; none where all is.

    Raises ValueError, naming the file, for a line that is none of a checksum, or names a file outside the folder.
    """
    folder = Path(folder)
    listed: dict[str, str] = {}
    for line in (folder / FILE).read_text(encoding="utf-8").splitlines():
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{folder / FILE}: no checksum in {line[:100]!r}; take the release again")
        listed[name] = digest
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {FILE}
    found = [f"{name} is absent" for name in sorted(listed.keys() - there)]
    found += [f"{name} is not listed" for name in sorted(there - listed.keys())]
    found += [f"{name} has changed" for name in sorted(listed.keys() & there) if sha256(folder / name) != listed[name]]
    return found
