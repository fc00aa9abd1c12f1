"""A user's own data in a run: which run folder it has, how it comes to the notebooks, and what is refused beforehand.

`./run_all.sh demo PAPER --data FILE [--masks FILE]` hands the files on in the environment variable SUITE_DATA, so that
each notebook is executed with the parameters `data` and `masks`, as by `python -m lib.runner … -p data FILE`.
"""

import hashlib
import json
import os
from collections.abc import Sequence

COHORT = "own"  # of a run on a user's cohort, where others have phantom or public
STANDS_FOR = "public"  # the parameter `cohort` of its notebooks: its patients stay the same, as public ones do


def given_files() -> dict[str, str]:
    """The parameters `data` and, if given, `masks` of this run's notebooks; empty where none were."""
    return json.loads(os.environ.get("SUITE_DATA") or "{}")


def give_files(data: str, masks: str, papers: Sequence[str], scale: str) -> None:
    """Have this process and those that it starts run on the cohort in `data`, with `masks` of a second file.

    Raises, in one sentence, FileNotFoundError for a file that is not there, and ValueError for a paper that takes no
    cohort of one's own and for what is wrong with the file or missing in it for one of `papers`.
    """
    if not data:
        return
    from lib.experiment.own_files import assert_serves  # h5py and NumPy, after the command line was understood

    for paper in papers:
        assert_serves(paper, scale, data, masks)
    paths = {"data": os.path.abspath(data)} | ({"masks": os.path.abspath(masks)} if masks else {})
    os.environ |= {"SUITE_DATA": json.dumps(paths), "SUITE_TRAIN": "1"}


def own_key(cohort: str, extra: dict) -> str:
    """Eight hexadecimal digits that tell a run with these parameters besides scale, cohort and seed from any other.

    With `data`, the digest of the files; FileNotFoundError if one is not there. Empty where none has a value, for then
    the notebook is the suite's own.
    """
    given = {name: value for name, value in extra.items() if value}
    if "data" in given:
        from lib.experiment.own_files import digest_of_files

        return digest_of_files(given["data"], given.get("masks", ""))
    text = json.dumps([cohort, given], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8] if given else ""


def cohort_of(cohort: str, extra: dict) -> str:
    """The cohort of a notebook with these parameters."""
    return COHORT if extra.get("data") else cohort
