"""Batch sizes of inference, found by measuring rather than taken from a paper.

They affect speed and memory, and results in the last bits at most. Always read them as
``amounts.NAME``, so that a test can set them.
"""

from __future__ import annotations

# Local ensemble (`models.reading.ensemble`).
CACHED_FLOATS = 2**19  # one layer's activations for a piece of the queries: 2 MiB
LONGEST_RUN = 16  # queries along an axis that are processed together
SMALLEST_BLOCK = 500  # queries per block, on average, for blocks to pay off

# Queries of attention at a time.
CIAOSR_QUERIES = 1024
LMCIAOSR_CODES = 4096
SRNO_QUERIES = 4096
CLIT_QUERIES = 1024  # each with its own codes
CLIT_SHARING = 2**15  # queries that share codes
CLIT_TABLE = 2**23  # floats in the decoder's first layer applied to values
LONGEST_ROW = 64  # queries of one key in a row

# Queries that rendering passes to a model at a time.
RENDERED_ON_CUDA = 2**18
RENDERED = 30000  # on a CPU
RENDERED_NARROW = 2**17  # if queries are grouped and each is cheap
COMPOSED = 2**18  # for one scale of a picture composed of several
