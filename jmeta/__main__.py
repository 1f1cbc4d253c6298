"""``python -m jmeta`` and the command ``jmeta``."""

import sys

from jmeta._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
