"""The pipeline around the library: DVC stages and Prefect flows."""

import sys

from cadnet.signals import leave_at_once

# Python's own mark that a module of this package is about to run as a command, which loads for seconds.
if sys.argv[:1] == ["-m"]:
    leave_at_once()
