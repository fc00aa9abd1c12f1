"""A folder as hospitals have it: links, loops, litter, names of other encodings, and files that are no image."""

import os
from pathlib import Path

import pytest

from lib.cohorts.io import image_search
from lib.cohorts.io.image_search import find_files
from lib.cohorts.io.user_images import locate
from tests.cohorts.toy import blank, folder, noise


def names(found):
    return [file.name for file in found.files]


def test_hidden_folders_and_what_systems_leave_are_no_images(tmp_path):
    root = folder(tmp_path / "f", noise(2))
    for left in (".ipynb_checkpoints", ".Trash", ".Trash-1000", "__MACOSX", "sub/.hidden", "@eaDir", "$RECYCLE.BIN"):
        folder(root / left, noise(1, seed=9))
    (root / "._00000.png").write_bytes((root / "00000.png").read_bytes())
    (root / "Thumbs.db").write_text("x")
    found = find_files(root)
    assert names(found) == ["00000.png", "00001.png"]
    assert {note.name for note in found.litter} == {
        ".ipynb_checkpoints", ".Trash", ".Trash-1000", "__MACOSX", "sub/.hidden", "@eaDir", "$RECYCLE.BIN",
        "._00000.png", "Thumbs.db",
    }  # fmt: skip
    assert not found.passed


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path):
    assert len(find_files(folder(tmp_path / ".data", noise(2))).files) == 2


def test_links_are_followed_once_and_loops_end(tmp_path):
    root, away = folder(tmp_path / "f", noise(1)), folder(tmp_path / "away", noise(3))
    (root / "linked").symlink_to(away)
    (root / "linked again").symlink_to(away)
    (root / "file.png").symlink_to(root / "00000.png")
    (away / "back").symlink_to(root)
    (root / "itself").symlink_to("itself")
    (root / "gone.png").symlink_to("nowhere.png")
    found = find_files(root)
    assert names(found) == ["00000.png", *(f"linked/0000{i}.png" for i in range(3))]
    why = {note.name: note.why for note in found.passed}
    assert why == {
        "file.png": "the same as 00000.png",
        "linked again": "the same as linked",
        "linked/back": "the same as .",
        "itself": "a link to what is not there",
        "gone.png": "a link to what is not there",
    }


def test_a_file_keeps_its_own_name_beside_a_link_to_its_folder(tmp_path):
    folder(tmp_path / "patient 9" / "study", noise(1))
    (tmp_path / "latest").symlink_to(tmp_path / "patient 9")
    found = find_files(tmp_path)
    assert names(found) == ["patient 9/study/00000.png"]
    assert [note.name for note in found.passed] == ["latest"]


@pytest.mark.parametrize(("error", "says"), [(PermissionError(13, "no"), "no permission to look into this folder"),
                                             (OSError(5, "Input/output error"), "Input/output error")])  # fmt: skip
def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path, monkeypatch, error, says):
    """Tests run as root, whom no permission stops."""
    root = folder(tmp_path / "f", noise(2))
    folder(root / "locked", noise(2))
    scan = os.scandir

    def refuses(path):
        if str(path).endswith("locked"):
            raise error
        return scan(path)

    monkeypatch.setattr(image_search.os, "scandir", refuses)
    (note,) = find_files(root).refused
    assert note.name == "locked"
    with pytest.raises(ValueError, match=f"f/locked: .*{says}.*take it out"):
        locate(root)


def test_a_name_that_is_no_utf8_is_answered_before_anything_is_read(tmp_path, monkeypatch):
    root = folder(tmp_path / "f", noise(1))
    (root / os.fsdecode(b"m\xfcller.png")).write_bytes(b"never read")
    os.mkdir(os.fsencode(root) + b"/d\xe9")
    (root / os.fsdecode(b"\xff.txt")).write_text("no image, so its name does not matter")
    found = find_files(root)
    assert {note.name for note in found.refused} == {"m\\xfcller.png", "d\\xe9"}
    assert [note.name for note in found.passed] == ["\\xff.txt"]
    with pytest.raises(
        ValueError, match=r"f/.*\\x.*: its name is no UTF-8; rename it \(1 more are refused\)"
    ) as caught:
        locate(root)
    str(caught.value).encode()
    with pytest.raises(ValueError, match=r"d\\xe9: its name is no UTF-8; rename it") as caught:
        locate(os.fsdecode(os.fsencode(root) + b"/d\xe9"))
    str(caught.value).encode()


def test_files_are_known_by_their_first_bytes_where_the_suffix_says_nothing(tmp_path):
    root = folder(tmp_path / "f", noise(1))
    for suffix in ("png", "jpeg", "tiff", "webp"):
        kind = folder(tmp_path / suffix, noise(1), suffix)
        (root / f"IM_{suffix}").write_bytes((kind / f"00000.{suffix}").read_bytes())
    (root / "1.2.840.7").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 300)
    (root / "implicit").write_bytes(b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100")
    (root / "explicit").write_bytes(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")
    (root / "big").write_bytes(b"\0\x08\0\x05CS\0\x0aISO_IR 100")
    found = find_files(root)
    kinds = {file.name: (file.kind, file.is_certain) for file in found.files}
    assert {kinds[f"IM_{suffix}"] for suffix in ("png", "jpeg", "tiff", "webp")} == {("picture", True)}
    assert kinds["1.2.840.7"] == ("DICOM", True)
    assert {kinds[name] for name in ("implicit", "explicit", "big")} == {("DICOM", False)}


def test_what_is_passed_over_is_listed_with_its_reason(tmp_path):
    root = folder(tmp_path / "f", noise(1))
    told = {
        "notes.txt": "no image",
        "volume.nrrd": "an image of a kind that is not read (.nrrd)",
        "all.zip": "an archive; unpack it to have its images read",
        "cohort.h5": "a cohort file; give it by itself",
        "DICOMDIR": "the index of a medium",
        "pipe.png": "a pipe, no regular file",
    }
    for name in told:
        os.mkfifo(root / name) if name == "pipe.png" else (root / name).write_text("x")
    assert {note.name: note.why for note in find_files(root).passed} == told
    with pytest.raises(ValueError, match=r"f/DICOMDIR: the index of a medium; read strictly, so take it out"):
        locate(root, strict=True)
    for name in told:
        (root / name).unlink()
    assert locate(root, strict=True).found.files


def test_only_the_file_that_is_given_is_looked_at(tmp_path):
    root = folder(tmp_path / "f", noise(2))
    assert names(find_files(root / "00001.png")) == ["00001.png"]


def test_a_thousand_files_are_in_the_order_of_their_paths(tmp_path):
    for i in (3, 1, 2):
        folder(tmp_path / "f" / f"p{i}", noise(2, 8))
    found = find_files(tmp_path / "f")
    assert [file.path for file in found.files] == sorted(Path(tmp_path / "f").rglob("*.png"))


def test_a_dicom_file_that_only_seems_to_be_one_is_no_image(tmp_path):
    """Its first bytes are those of an element, and nothing else is."""
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
    root = folder(tmp_path / "f", noise(1))
    (root / "table").write_bytes(b"\x02\0\x10\0\x04\0\0\0" + b"\xff" * 60)
    assert names(find_files(root)) == ["00000.png", "table"]
    from tests.cohorts.io.test_user_images import opened

    found = opened(root)
    assert list(found.names) == ["00000.png"]
    assert [note.name for note in found.passed] == ["table"]


def test_files_without_pixels_are_no_images(tmp_path):
    root = folder(tmp_path / "f", noise(1))
    data = blank(root / "report.dcm", "ComprehensiveSRStorage")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
    data.save_as(root / "report.dcm", enforce_file_format=True)
    assert names(find_files(root)) == ["00000.png", "report.dcm"]
