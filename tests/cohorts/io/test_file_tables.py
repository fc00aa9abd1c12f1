"""Tables of patients as hospitals write them."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lib.cohorts.io.file_tables import FileTable, PatientTable
from tests.cohorts.io.test_user_images import opened
from tests.cohorts.toy import folder, noise


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "who.csv"
    path.write_bytes(text.encode(encoding))
    return PatientTable(path)


def of(tmp_path, text, *names, folder="/data/a/images", encoding="utf-8"):
    return list(table(tmp_path, text, encoding).patients(names, Path(folder)))


@pytest.mark.parametrize("head", ["file,patient", "File,Patient", "PATIENT,note,FILE", " file , patient "])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_heads_separators_marks_and_ends(tmp_path, head, separator, encoding, ends):
    row = "p 1,x,a.png" if "note" in head else "a.png,p 1"
    text = ends.join([head, row, ""]).replace(",", separator)
    assert of(tmp_path, text, "a.png", encoding=encoding) == ["p 1"]


def test_a_line_for_a_spreadsheet_and_quoted_separators(tmp_path):
    assert of(tmp_path, 'sep=;\r\nfile;patient\r\n"a;b.png";"Doe, J"\r\n', "a;b.png") == ["Doe, J"]


def test_numbers_stay_as_they_are_written(tmp_path):
    assert of(tmp_path, "file,patient\na.png,007\nb.png,7\nc.png,1e5\n", "a.png", "b.png", "c.png") == [
        "007",
        "7",
        "1e5",
    ]


WAYS = ("sub\\a.png", "images\\sub\\a.png", ".\\sub\\a.png", "./sub/a.png", "/data/a/images/sub/a.png",
        "C:\\old place\\images\\sub\\a.png", "/old/place/images/sub/a.png", "a.png")  # fmt: skip


@pytest.mark.parametrize("written", WAYS)
def test_ways_to_write_a_path(tmp_path, written):
    assert of(tmp_path, f"file,patient\n{written},p\n", "sub/a.png") == ["p"]


def test_a_path_from_the_folder_of_the_table(tmp_path):
    (tmp_path / "tables").mkdir()
    path = tmp_path / "tables" / "who.csv"
    path.write_text("file,patient\n../x/images/a.png,p1\n../y/images/a.png,p2\n")
    assert [PatientTable(path).patients(["a.png"], tmp_path / x / "images")[0] for x in "xy"] == ["p1", "p2"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_letters_with_accents_are_equal_however_they_are_composed(tmp_path, form, written):
    name = unicodedata.normalize(form, "Müller/é.png")
    assert of(tmp_path, f"file,patient\n{unicodedata.normalize(written, 'Müller/é.png')},p\n", name) == ["p"]


def test_equal_names_in_two_folders(tmp_path):
    rows = "file,patient\na/images/1.png,ann\nb/images/1.png,bob\nx/1.png,cy\ny/1.png,di\n"
    assert of(tmp_path, rows, "1.png", folder="/data/a/images") == ["ann"]
    assert of(tmp_path, rows, "1.png", folder="/data/b/images") == ["bob"]
    assert of(tmp_path, rows, "x/1.png", "y/1.png", folder="/data/c") == ["cy", "di"]


@pytest.mark.parametrize(
    ("row", "names_none"),
    [
        ("images/1.png", 0),  # as well as 1.png, which names the same file
        ("/elsewhere/images/x/2.png", 0),
        ("/elsewhere/other/x/2.png", 1),
        ("other/1.png", 1),
        ("3.png", 1),
        ("y/1.png", 1),
    ],
)
def test_rows_that_name_no_file_are_counted(tmp_path, row, names_none):
    (tmp_path / "who.csv").write_text(f"file,patient\n1.png,p\nx/2.png,q\n{row},p\n")
    files = FileTable(tmp_path / "who.csv", ("patient",))
    assert files.unmatched(["1.png", "x/2.png"], Path("/data/a/images")) == names_none


def test_both_real_sets_of_one_table(tmp_path):
    for name in ("train", "heldout"):
        folder(tmp_path / name / "images", noise(2))
    rows = [f"{name}/images/0000{i}.png;{name[0]}{i}" for name in ("train", "heldout") for i in range(2)]
    (tmp_path / "who.csv").write_text("\n".join(["File;Patient", *rows]))
    for name in ("train", "heldout"):
        found = opened(tmp_path / name / "images", patients=tmp_path / "who.csv")
        assert list(found.patients) == [f"{name[0]}0", f"{name[0]}1"]
        assert found.patients_from == {"table": 2}
        assert "patients by the table" in found.rules


@pytest.mark.parametrize(
    ("rows", "names", "sentence"),
    [
        ("a.png,p\n", ["x/a.png", "y/a.png"], r"a\.png is images/x/a\.png as well as images/y/a\.png; give the path"),
        ("/p/images/a.png,p\n/q/images/a.png,q\n", ["a.png"], "images/a.png has patients 'p', 'q'; leave one, or give"),
        ("b.png,p\n", ["a.png"], r"who\.csv: no patient for images/a\.png; add its row"),
        ("other/a.png,p\n", ["a.png"], r"who\.csv: no patient for images/a\.png; add its row"),
    ],
)
def test_what_a_table_leaves_open_is_refused(tmp_path, rows, names, sentence):
    with pytest.raises(ValueError, match=sentence):
        of(tmp_path, f"file,patient\n{rows}", *names)


@pytest.mark.parametrize(
    ("text", "encoding", "sentence"),
    [
        ("file,who\na,b\n", "utf-8", "no column patient; its first line names file, who: rename or add$"),
        ("File;Patient ID\na;b\n", "utf-8", "no column patient; its first line names file, patient id: rename or add$"),
        ("file,patient\n", "utf-8", "no rows below its first line; add one for each file"),
        ("", "utf-8", "no column file, patient; its first line names none: rename or add$"),
        ("file,patient\nMüller.png,p\n", "latin-1", "not a readable table .*; give a CSV in UTF-8 with the columns"),
    ],
)
def test_what_is_no_table(tmp_path, text, encoding, sentence):
    with pytest.raises(ValueError, match=rf"who\.csv: {sentence}"):
        table(tmp_path, text, encoding)


def test_a_table_of_many_rows_is_searched_in_no_time(tmp_path):
    names = [f"p{i // 10}/study/{i}.dcm" for i in range(20_000)]
    rows = "\n".join(f"old\\archive\\images\\{name},p{i // 10}".replace("/", "\\") for i, name in enumerate(names))
    found = table(tmp_path, f"file,patient\n{rows}").patients(names, Path("/data/images"))
    np.testing.assert_array_equal(found, [f"p{i // 10}" for i in range(20_000)])
