"""`python -m ppl.cli`: the command where it is not on the PATH."""

import sys

from . import main

sys.exit(main())
