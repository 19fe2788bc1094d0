"""One thread, also in the processes that tests start: what they compute is too small for more."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
