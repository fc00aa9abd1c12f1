"""JSON objects out of files that may be damaged or hostile."""

import json
from pathlib import Path
from typing import Any

from lib.core.regular_files import require_regular


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object in the file at `path`.

    Raises ValueError, in one sentence, for text that is not JSON, is nested too deeply to be read, or is another value
    than an object, and for a pipe or a device; and OSError if there is no such file.
    """
    require_regular(path)
    return parse_object(Path(path).read_bytes())


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object that `text` is. Raises ValueError as `read_object` does."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    except ValueError as error:  # of a syntax error, of another encoding, of a number with thousands of digits
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__} where an object is expected")
    return found
