"""``python -m scrimp``."""

import sys

from scrimp.cli.app import main

sys.exit(main())
