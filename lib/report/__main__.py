"""`python -m lib.report`: the page of a run, the README's scorecard, the committed reference, runs side by side."""

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from lib.core.paths import root
from lib.report.page import write_page
from lib.report.runs import find_run
from lib.runner.settings import use_kept_settings

_RUN = "demo-phantom, demo-public-seed3, …; reference/demo-phantom for what is committed"


def main() -> int:
    """Do as the command line says; one sentence and exit code 1 where that is not possible, a page not written."""
    words = sys.argv[1:]
    command = {"reference": _reference, "restore": _restore, "compare": _compare}.get(words[0]) if words else None
    try:
        code = command(words[1:]) if command else _page(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `head`, behind a pipe, has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _page(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.report",
        description="Write the page of a run, index.html among its figures.",
        epilog="Also: python -m lib.report reference TAG [PAPER…]; … restore TAG; … compare RUN RUN…; each has --help.",
    )
    parser.add_argument("run", metavar="RUN", help=_RUN)
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument("--readme", action="store_true", help="put the scorecard of RUN into README.md, no page")
    arguments = parser.parse_args(words)
    if arguments.readme:
        from lib.report.readme import write_readme  # pandas, which a page does without

        write_readme(root() / "README.md", arguments.run)
        print(root() / "README.md")
        return 0
    use_kept_settings(find_run(arguments.run).records)
    page = write_page(arguments.run)
    print(page)
    if arguments.open:
        webbrowser.open(page.as_uri())
    return 0


def _reference(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.report reference",
        description="Copy what is published of a finished phantom run to figures/reference/TAG, to be committed.",
    )
    parser.add_argument("run", metavar="TAG", help="a run of this checkout, such as demo-phantom")
    parser.add_argument("papers", metavar="PAPER", nargs="*", help="take these alone anew, with the scorecard")
    arguments = parser.parse_args(words)
    from lib.report.reference import write_reference

    print(write_reference(arguments.run, arguments.papers))
    return 0


def _restore(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.report restore",
        description="Put what is committed of a run back into it, for the papers that it has nothing of.",
    )
    parser.add_argument("run", metavar="TAG", help="a committed run, such as demo-phantom")
    arguments = parser.parse_args(words)
    from lib.report.reference import restore

    print("Put back: " + (", ".join(restore(arguments.run)) or "nothing, the run has records of every paper"))
    return 0


def _compare(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.report compare",
        description="Show the claims of several runs side by side: verdicts, values and intervals.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help=f"{_RUN}; or CHECKOUT/RUN of another checkout")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write the table as CSV too")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the table as a page too")
    arguments = parser.parse_args(words)
    from lib.report.compare import compare

    comparison = compare(arguments.runs)
    if arguments.csv:
        comparison.write_csv(arguments.csv)
    if arguments.html:
        comparison.write_html(arguments.html)
    print(comparison.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
