"""The module of each public set, by the names in `lib.cohorts.public`.

It is a module of its own so that code that opens a cohort does not depend on the modules of all sets.
"""

import importlib
from types import ModuleType
from typing import Any

from lib.cohorts.public import TABLES, open_public, prepared, set_of


def module_of(name: str) -> ModuleType:
    """The module that reads the set of `name`; it has COHORTS, DIGESTS, `sources` and `prepare`."""
    return importlib.import_module(f"lib.cohorts.public.{set_of(name)}")


def open_prepared(name: str) -> Any:
    """The prepared `name`: a Cohort, or the `Predictions` of a table. Raises errors as `prepared` does."""
    return module_of(name).Predictions.open(prepared(name)) if name in TABLES else open_public(name)
