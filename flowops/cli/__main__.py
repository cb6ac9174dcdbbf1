"""`python -m flowops.cli`, the same as `flowops`."""

from __future__ import annotations

import sys

from flowops.cli.main import main

sys.exit(main())
