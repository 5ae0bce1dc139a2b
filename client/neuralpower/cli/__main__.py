"""`python -m neuralpower.cli` is the `neuralpower` command."""

import sys

from . import main

sys.exit(main())
