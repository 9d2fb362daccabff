"""`python -m incoming` is `python incoming.py`."""

import sys

from incoming.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
