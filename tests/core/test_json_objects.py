"""A JSON object, or one sentence."""

import pytest

from lib.core.json_objects import parse_object, read_object


def test_an_object_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"ä": [1, null]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"ä": [1, None]}
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "b.json")


NOT_OBJECTS = {
    "a list": "[]",
    "null": "null",
    "a text": '"done"',
    "nothing": "",
    "half": '{"a": ',
    "deep": "[" * 100_000,
    "a deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a long number": '{"a": ' + "9" * 5000 + "}",
    "another encoding": b"\xff\xfe{",
}


@pytest.mark.parametrize("text", NOT_OBJECTS.values(), ids=NOT_OBJECTS)
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match="JSON") as caught:
        parse_object(text)
    assert "\n" not in str(caught.value)
