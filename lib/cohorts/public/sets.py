"""The module of each public set, by name.

Apart from the names of the sets, so that whoever opens a cohort does not depend on the readers of all the others.
"""

import importlib
from types import ModuleType

from lib.cohorts.public import TABLES, open_public, prepared, set_of


def module_of(name: str) -> ModuleType:
    """The module that reads the cohort (or set) `name`: COHORTS, DIGESTS, sources() and prepare()."""
    return importlib.import_module(f"lib.cohorts.public.{set_of(name)}")


def open_prepared(name: str):
    """The prepared `name`: a Cohort, lazily, or the `Predictions` of a table; errors as `prepared`."""
    return module_of(name).Predictions.open(prepared(name)) if name in TABLES else open_public(name)
