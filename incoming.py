"""The door: `python incoming.py --port 4000`."""

import sys

from incoming.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
