"""``python -m holdfast``: the command line where no ``holdfast`` is on the path."""

import sys

from holdfast.cli import main

if __name__ == "__main__":  # a worker that is spawned imports the main module under another name
    sys.exit(main())
