"""What the processes that tests start inherit.

One thread: what they compute is too small for more. And SIGINT, which tests send and which a shell
lets background jobs ignore.
"""

import os
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
