"""Fetching asks a server of the test's own."""

import pooch
import pytest

from lib.cohorts.io import fetch
from tests.cohorts.github import Server


@pytest.fixture
def serve(monkeypatch):
    """serve(files, errors): from now on fetching is answered by such a `Server`, which is returned."""

    def install(files, errors=()):
        server = Server(files, errors)
        monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: server)
        monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
        return server

    return install
