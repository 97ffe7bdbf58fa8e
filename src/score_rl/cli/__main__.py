"""`python -m score_rl.cli` is `score`."""

import sys

from score_rl.cli.main import main

sys.exit(main())
