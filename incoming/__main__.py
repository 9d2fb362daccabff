"""`python -m incoming` is `python incoming.py`."""

import sys

from incoming.app import main

if __name__ == "__main__":
    sys.exit(main())
