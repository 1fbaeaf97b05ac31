"""``python -m scrimp``."""

import sys

from scrimp.cli.app import command

sys.exit(command())
