"""Settings that must stand before torch is imported."""

import os

# The tests' tensors are small: a second thread costs more than it brings, most of all beside other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
