"""A mapping, or one sentence that names file and line, at once."""

import pytest

from lib.core.yaml_mappings import line_of, read_mapping
from lib.experiment import limits, paper

BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{o}, *{o}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True))
HOSTILE = {
    "brackets": ("a: 1\nb: " + "[" * 20_000, ":2: (more than 50 lists|not YAML)"),
    "deep blocks": ("- " * 20_000 + "x", ":1: (more than 50 lists|not YAML)"),
    "closed brackets": ("a: " + "[" * 900 + "]" * 900, ":1: more than 50 lists or mappings within each other"),
    "mappings": ("a: " + "{b: " * 900 + "1" + "}" * 900, ":1: more than 50 lists or mappings within each other"),
    "an alias bomb": (BOMB, ":1: an anchor or alias, a; write out"),
    "an alias of itself": ("x: 1\na: &a [*a]", ":2: an anchor or alias, a; write out"),
    "an alias alone": ("x: 1\na: *b", ":2: (an anchor or alias, b; write out|not YAML)"),
    "bytes": (b"a: 1\nb: \xff\xfe", ":2: not UTF-8 text"),
    "UTF-16": ("a: 1".encode("utf-16"), ":1: not UTF-8 text"),
    "a zero byte": (b"a: \0", ": not YAML"),
    "NaN": ("a: 1\nb: [1, .nan]", r":2: \.nan is no finite number"),
    "infinity": ("b: -.INF", r":1: -\.INF is no finite number"),
    "1e400": ("b: 1e400", r":1: 1e400 is no finite number"),
    "1.0e+400": ("b: 1.0e+400", r":1: 1\.0e\+400 is no finite number"),
    "a long number": ("b: " + "9" * 5000, ":1: 9{200}… cannot be read"),
    "a date that is none": ("b: 2001-99-99", ":1: 2001-99-99 cannot be read"),
    "a list as key": ("? [a]\n: 1", ":1: a key that is a list"),
    "a key twice": ("a: 1\na: 2", ":2: a: stands twice; keep one"),
    "an object": ("a: !!python/object/apply:os.system [ls]", ":1: not YAML"),
    "two documents": ("a: 1\n---\nb: 1", ":2: not YAML"),
    "a list": ("- a", ": holds no keys"),
    "nothing": ("", ": holds no keys"),
}


@pytest.fixture(params=["paper.yaml", "limits.yaml"])
def opener(request, tmp_path, monkeypatch):
    """Where a file lies, and what opens it."""
    monkeypatch.setattr(limits, "root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / request.param
    return path, (lambda: paper.load_paper(path.parent)) if request.param == "paper.yaml" else limits.limits


@pytest.mark.parametrize(("text", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_one_sentence(opener, text, sentence):
    path, read = opener
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=path.name + sentence) as caught:
        read()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_that_nobody_wrote_is_not_read(tmp_path):
    with open(tmp_path / "a.yaml", "wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(ValueError, match=r"a\.yaml: more than 16,777,216 bytes"):
        read_mapping(tmp_path / "a.yaml")


def test_content_and_lines_are_told(tmp_path):
    (tmp_path / "a.yaml").write_text('a: 1\nb: {c: [1.5e-3, "nan", 2]}\nd: [1,\n  x]\n', encoding="utf-8")
    content, tree = read_mapping(tmp_path / "a.yaml")
    assert content == {"a": 1, "b": {"c": [0.0015, "nan", 2]}, "d": [1, "x"]}
    assert [line_of(tree, keys) for keys in (("b", "c"), ("d", 1), ("e",))] == [2, 4, 1]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("{limit: 1e400, reason: because of this}", "1e400 is no finite number"),
        ('{limit: "1e400", reason: because of this}', "x.limit: .*finite"),
        ("{limit: 1}", "x.reason: "),
        ("3", "x: "),
    ],
)
def test_a_limit_is_named_with_its_line(tmp_path, monkeypatch, entry, sentence):
    monkeypatch.setattr(limits, "root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/limits.yaml").write_text(f"# limits\nx: {entry}\n")
    with pytest.raises(ValueError, match=rf"limits\.yaml:2: {sentence}"):
        limits.limits()
