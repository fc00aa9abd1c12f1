"""Files of a public repository at a pinned commit, each verified against a manifest of the project.

Every file is verified by a fingerprint, which is 128 bits of a SHA-256 in hexadecimal. To substitute another file
takes a second preimage, about 2^128 trials, so shortening the digest costs no safety. For most files the fingerprint
covers the bytes. For radiographs that the project knows only in reduced form, it covers the reduced pixels (the source
says which); this verifies the pixels of the cohort, and not the published bytes.

A set of thousands of small files is fetched as one archive of its commit, because GitHub allows about 5,000 requests
for single files an hour. Large files are fetched one by one, several at a time, so that a broken connection costs one
file. In both cases a file appears under its name only when it is complete and verified, and a second run fetches only
what is missing.
"""

import gzip
import hashlib
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
import requests

from lib.core.files import atomic

_THREADS = 6
_PAUSES = (1, 4)  # seconds before the second and the third attempt
_LARGEST = 1 << 26  # bytes, at most, of one file in an archive; the published files have a few thousand
_HEADERS = {"User-Agent": "private-image-sharing (pooch)"}
_BY_HAND = "fetch it by hand and use --from"


class FetchError(RuntimeError):
    """A file could not be fetched, or is not the one that was published."""


def file_fingerprint(path: Path) -> str:
    """128 bits of the SHA-256 of the bytes of a file, as 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@dataclass(frozen=True)
class Source:
    """Files of one commit of a GitHub repository.

    repository: owner/name. manifest: maps each path to its fingerprint. fingerprint: computes it from a file; if that
    raises ValueError, the file is not the published one. archive: whether to fetch all files in one request.
    """

    repository: str
    commit: str
    manifest: dict[str, str]
    fingerprint: Callable[[Path], str] = file_fingerprint
    archive: bool = False

    def holds(self, path: str, file: Path) -> bool:
        """Whether `file` is the published `path`."""
        try:
            return file.is_file() and self.fingerprint(file) == self.manifest[path]
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"github.com/{self.repository} at {self.commit[:7]}"


def read_manifest(path: Path) -> dict[str, str]:
    """The fingerprint of each path, from the gzipped lines `fingerprint path` of a manifest."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return {name: mark for mark, name in (line.rstrip("\n").split(" ", 1) for line in file)}


def write_manifest(path: Path, folder: Path, names: Iterable[str], fingerprint=file_fingerprint) -> None:
    """Write the manifest of the files `names` under `folder`; equal files give an equal manifest, byte for byte."""
    lines = "".join(f"{fingerprint(folder / name)} {name}\n" for name in sorted(names))
    with atomic(path) as partial:
        partial.write_bytes(gzip.compress(lines.encode(), mtime=0))


def fetch(source: Source, folder: Path, progress: Callable[[str], None] = print) -> None:
    """Fetch every file of `source` that `folder` lacks, and verify it.

    Raises FetchError, in one sentence, if there is no network, if a file is absent or not the published one, or if an
    archive is unsafe; OSError when the disk is full. Complete files are kept.
    """
    folder = Path(folder)
    names = list(source.manifest)
    with ThreadPoolExecutor(_THREADS) as pool:
        there = pool.map(lambda name: source.holds(name, folder / name), names)
        missing = [name for name, held in zip(names, there, strict=True) if not held]
    progress(f"{source}: {len(names) - len(missing):,} of {len(names):,} files are here")
    if missing and source.archive:
        _fetch_archive(source, folder, missing, progress)
    elif missing:
        _fetch_files(source, folder, missing, progress)


def _fetch_files(source: Source, folder: Path, names: list[str], progress: Callable[[str], None]) -> None:
    def one(name):
        url = f"https://raw.githubusercontent.com/{source.repository}/{source.commit}/{requests.utils.quote(name)}"
        with atomic(folder / name) as partial:
            _download(url, partial)
            _verify(source, name, partial, url)

    with ThreadPoolExecutor(_THREADS) as pool:
        tasks = [pool.submit(one, name) for name in names]
        try:
            for done, task in enumerate(tasks, 1):
                task.result()
                if done % 100 == 0 or done == len(tasks):
                    progress(f"fetched {done:,} of {len(tasks):,}")
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch_archive(source: Source, folder: Path, names: list[str], progress: Callable[[str], None]) -> None:
    url = f"https://codeload.github.com/{source.repository}/tar.gz/{source.commit}"
    archive = folder / ".archive.tar.gz"
    if not archive.exists():  # otherwise a run that was killed while unpacking left it complete
        progress("fetching the archive of the commit")
        with atomic(archive) as partial:
            _download(url, partial)
    try:
        unpack(archive, source, folder, names, url)
    finally:
        archive.unlink()


def unpack(archive: Path, source: Source, folder: Path, names: Iterable[str], origin: str) -> None:
    """Extract the files `names` of `source` from a gzipped tar whose paths start with one top folder.

    Only regular files that the manifest names are written, each after it was verified. Raises FetchError, naming
    `origin`, for a damaged archive, a path that leaves the folder, a link in place of a file, or a missing file.
    """
    wanted = set(names)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                    raise FetchError(f"{origin}: {member.name!r} would escape the folder; do not trust this archive")
                name = "/".join(path.parts[1:])
                if name not in wanted:
                    continue
                stored = tar.extractfile(member) if member.isreg() else None
                if stored is None:
                    raise FetchError(f"{origin}: {name} is not a regular file; do not trust this archive")
                if member.size > _LARGEST:
                    raise FetchError(f"{origin}: {name} has {member.size:,} bytes; do not trust this archive")
                with atomic(folder / name) as partial:
                    partial.write_bytes(stored.read())
                    _verify(source, name, partial, origin)
                wanted.remove(name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FetchError(f"{origin}: damaged archive ({error}); run the same command again") from error
    if wanted:
        raise FetchError(f"{origin}: {len(wanted):,} files are not in it, the first {min(wanted)}; {_BY_HAND}")


def _verify(source: Source, name: str, file: Path, origin: str) -> None:
    if not source.holds(name, file):
        raise FetchError(f"{name}: not the published content (checksum mismatch) at {origin}; run again, or {_BY_HAND}")


def _download(url: str, path: Path) -> None:
    download = pooch.HTTPDownloader(timeout=30, chunk_size=1 << 16, headers=_HEADERS)
    for pause in (*_PAUSES, None):
        try:
            return download(url, str(path), None)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if pause is None or status not in (429, 500, 502, 503, 504):
                raise FetchError(f"{url}: the server answers {status}; {_BY_HAND}") from error
        except requests.RequestException as error:
            if pause is None:
                host = url.split("/")[2]
                raise FetchError(f"no connection to {host}: {_cause(error)}; {_BY_HAND}") from error
        time.sleep(pause)


def _cause(error: BaseException) -> str:
    """The innermost cause in short, for requests wraps a failed look-up four times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error).strip() or type(error).__name__
