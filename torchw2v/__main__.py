"""`python -m torchw2v`."""

import sys

from torchw2v.cli import main

sys.exit(main())
