"""`python -m lib.report TAG [--open] [--readme]`: write figures/TAG/index.html, or the README's scorecard."""

import argparse
import sys
import webbrowser

from lib.core.paths import root
from lib.report.page import write_page
from lib.report.readme import write_readme


def main() -> int:
    """Write the page and print where it lies; one sentence and exit code 1 where that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m lib.report", description="Write figures/TAG/index.html.")
    parser.add_argument("tag", metavar="TAG", help="the run: demo-phantom, smoke-phantom, demo-public-seed3, …")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument("--readme", action="store_true", help="put the scorecard of TAG into README.md, no page")
    arguments = parser.parse_args()
    try:
        if arguments.readme:
            write_readme(root() / "README.md", arguments.tag)
            print(root() / "README.md")
            return 0
        page = write_page(arguments.tag)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(page)
    if arguments.open:
        webbrowser.open(page.as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
