"""The numbers that verdicts depend on and that no paper states, each with its reason: notebooks/limits.yaml."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lib.core.paths import root
from lib.core.yaml_mappings import line_of, read_mapping


class Limit(BaseModel):
    """A number that a verdict depends on and no paper states, with the reason for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: float = Field(allow_inf_nan=False)
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]


def limits() -> dict[str, Limit]:
    """The content of notebooks/limits.yaml: name -> limit. A margin is named PAPER/CLAIM, the gate's are gate/….

    ValueError, naming the file, the line and the entry, for anything else. Empty where there is no such file.
    """
    path = root() / "notebooks" / "limits.yaml"
    if not path.exists():
        return {}
    content, tree = read_mapping(path)
    found = {}
    for name, entry in content.items():
        try:
            found[str(name)] = Limit.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            keys = (name, *first["loc"])
            raise ValueError(
                f"{path}:{line_of(tree, keys)}: {'.'.join(map(str, keys))}: {first['msg']}: give limit and reason"
            ) from error
    return found
