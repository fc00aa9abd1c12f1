"""A server that stands for GitHub, and its errors."""

from pathlib import Path

import requests

NO_NETWORK = requests.ConnectionError("no route to host")


def answer(status):
    """The error of a server that answers `status`."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


class Server:
    """Stands for GitHub: answers from `files`, or raises the errors queued; keeps what was asked for."""

    def __init__(self, files, errors=()):
        self.files, self.errors, self.asked = files, list(errors), []

    def __call__(self, url, output_file, _):
        self.asked.append(url)
        if self.errors:
            raise self.errors.pop(0)
        name = requests.utils.unquote(url.split("/", 6)[-1])
        if name not in self.files:
            raise answer(404)
        Path(output_file).write_bytes(self.files[name])


def files_in(folder):
    """Contents by name, of every file in `folder`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
