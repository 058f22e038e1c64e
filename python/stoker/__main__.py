"""python -m stoker: see docs/commands.md."""

import sys

from stoker.cli import main

sys.exit(main())
