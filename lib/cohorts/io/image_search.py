"""Finding the image files of a folder: what is read, what is passed over and why, and what is refused.

Links are followed, and what is reached twice is taken once. Hidden files and folders, and the folders that operating
systems leave behind, are passed over. A file is known by its suffix, and without a known one by its first bytes.
"""

import errno
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from lib.core.regular_files import kind_of_mode

SUFFIXES = {
    "DICOM": (".dcm", ".dicom", ".ima"),
    "picture": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"),
    "NIfTI": (".nii", ".nii.gz"),
}
COHORT_SUFFIXES = (".h5", ".hdf5")
_OTHER_IMAGES = (".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".img", ".hdr", ".jp2", ".j2k", ".gif", ".heic",
                 ".heif", ".avif", ".npy", ".npz", ".svs", ".ndpi", ".pgm", ".ppm", ".pnm", ".exr")  # fmt: skip
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_MARKS = {b"\x89PNG\r\n\x1a\n": "picture", b"\xff\xd8\xff": "picture", b"II*\0": "picture", b"MM\0*": "picture"}
_LITTER = ("__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information", "thumbs.db", "desktop.ini")
_VRS = b"AE AS CS DA DT IS LO LT PN SH ST TM UI UL US UN OB SQ".split()


class ImageFile(NamedTuple):
    """A file that is to be read."""

    path: Path
    name: str  # its path within the folder, with "/"
    kind: str  # a key of SUFFIXES
    is_certain: bool = True  # False: DICOM without its mark, as far as the first bytes tell


class Note(NamedTuple):
    """A file or folder, and why it is passed over or refused."""

    name: str  # its path within the folder, with "/"; bytes that are no UTF-8 are written as \\xff
    why: str


class Found(NamedTuple):
    """Outcome of `find_files`."""

    folder: Path
    files: list[ImageFile]  # in the order of their paths
    passed: list[Note]  # of what is no image
    litter: list[Note]  # of what is hidden, or left behind by an operating system
    refused: list[Note]  # of what may be an image and cannot be reached


def find_files(path: Path) -> Found:
    """The image files of the folder `path` and of all folders below, or `path` itself; nothing is decoded."""
    if not path.is_dir():
        found = Found(path.parent, [], [], [], [])
        _sort_in(found, path, shown(path.name), only=True)
        return found
    found = Found(path, [], [], [], [])
    seen: dict[tuple[int, int], str] = {}
    _is_first(seen, path.stat(), ".")
    folders, links = [path], list[os.DirEntry]()
    while folders or links:
        if folders:
            inside = _entries(folders.pop(), found)
            links += [entry for entry in inside if entry.is_symlink()]
            within = [_taken(Path(entry), found, seen) for entry in inside if not entry.is_symlink()]
        else:  # what a link leads to may also be reached without it, and has its own name then
            within = [_taken(Path(links.pop(0)), found, seen)]
        folders += [folder for folder in reversed(within) if folder]
    found.files.sort(key=lambda file: file.path)
    return found


def known_suffixes() -> str:
    """All suffixes that are read, for a sentence."""
    images = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    return f"{images}, and cohort files {', '.join(COHORT_SUFFIXES)}"


def _entries(folder: Path, found: Found) -> list[os.DirEntry]:
    """The entries of one folder, in order, without those that are hidden or left behind."""
    try:
        with os.scandir(folder) as entries:
            every = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        why = "no permission to look into this folder; allow it or take it out"
        if not isinstance(error, PermissionError):
            why = f"this folder cannot be looked into ({error.strerror}); repair the file system or take it out"
        found.refused.append(Note(_name(folder, found), why))
        return []
    is_litter = [entry.name.startswith(".") or entry.name.lower() in _LITTER for entry in every]
    for entry, hidden in zip(every, is_litter, strict=True):
        if hidden:
            found.litter.append(Note(_name(Path(entry), found), "hidden, or left by an operating system"))
    return [entry for entry, hidden in zip(every, is_litter, strict=True) if not hidden]


def _taken(path: Path, found: Found, seen: dict) -> Path | None:
    """Put a file into its list of `found`; `path` itself if it is a folder to look into."""
    name = _name(path, found)
    try:
        about = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            found.passed.append(Note(name, "a link to what is not there"))
        else:
            found.refused.append(Note(name, f"cannot be reached ({error.strerror}); mend the link or take it out"))
        return None
    if first := _is_first(seen, about, name):
        found.passed.append(Note(name, f"the same as {first}"))
    elif not stat.S_ISDIR(about.st_mode):
        _sort_in(found, path, name, mode=about.st_mode)
    elif is_utf8(path.name):
        return path
    else:
        found.refused.append(_undecodable(name))
    return None


def _sort_in(found: Found, path: Path, name: str, *, mode: int = stat.S_IFREG, only: bool = False) -> None:
    """Put one file into the list of `found` to which it belongs; `only`: it was given by itself."""
    if not stat.S_ISREG(mode):
        found.passed.append(Note(name, f"{kind_of_mode(mode)}, no regular file"))
        return
    try:
        kind, is_certain = _kind(path)
    except OSError as error:
        why = "no permission to read it; allow it or take it out"
        if not isinstance(error, PermissionError):
            why = f"cannot be read ({error.strerror}); repair the file system or take it out"
        found.refused.append(Note(name, why))
        return
    if kind in SUFFIXES:
        if is_utf8(str(path) if only else path.relative_to(found.folder).as_posix()):
            found.files.append(ImageFile(path, name, kind, is_certain))
        else:
            found.refused.append(_undecodable(name))
    else:
        found.passed.append(Note(name, kind))


def _kind(path: Path) -> tuple[str, bool]:
    """The kind of an image file and whether it is certain, or why the file is none that is read."""
    name = path.name.lower()
    for kind, suffixes in SUFFIXES.items():
        if name.endswith(suffixes):
            return kind, True
    if name.endswith(COHORT_SUFFIXES):
        return "a cohort file; give it by itself", True
    if name == "dicomdir":
        return "the index of a medium", True
    with path.open("rb") as file:
        head = file.read(352)
    for mark, kind in _MARKS.items():
        if head.startswith(mark):
            return kind, True
    if head[128:132] == b"DICM":
        return "DICOM", True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture", True
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "NIfTI", True
    if name.endswith(_OTHER_IMAGES):
        return f"an image of a kind that is not read ({path.suffix.lower()})", True
    if name.endswith(_ARCHIVES):
        return "an archive; unpack it to have its images read", True
    if _may_be_dicom(head):
        return "DICOM", False
    return "no image", True


def _may_be_dicom(head: bytes) -> bool:
    """Whether a file without the mark begins with an element of group 2 or 8, as a DICOM file does."""
    for order in "<>":
        if len(head) >= 8:
            group, element, length = struct.unpack(f"{order}HHL", head[:8])
            if (group, element) in {(2, e) for e in (0, 1, 2, 3, 16)} or (group == 8 and element <= 0x1150):
                if head[4:6] in _VRS or (order == "<" and length <= 256):
                    return True
    return False


def _is_first(seen: dict[tuple[int, int], str], about: os.stat_result, name: str) -> str | None:
    """The name under which this file or folder was reached before; some file systems do not number their files."""
    if not about.st_ino:
        return None
    first = seen.setdefault((about.st_dev, about.st_ino), name)
    return None if first == name else first


def is_utf8(name: str) -> bool:
    """Whether a file's name can be written as it is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(path: Path, found: Found) -> str:
    return shown(path.relative_to(found.folder).as_posix())


def shown(name: str) -> str:
    """A file's name as it can be written: bytes that are no UTF-8 as \\xff."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _undecodable(name: str) -> Note:
    return Note(name, "its name is no UTF-8; rename it")
