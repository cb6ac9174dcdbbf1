"""`python -m flowops.cli`, the same as `flowops`."""

from __future__ import annotations

import sys

from flowops.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
