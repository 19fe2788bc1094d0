"""How many at a time: all amounts of inference that were found by measuring, not by a paper.

They change the speed and the memory, and results in the last bits at most. Read them as
``amounts.NAME``, so that a test can set them.
"""

from __future__ import annotations

# Of a local ensemble (`models.reading.ensemble`).
CACHED_FLOATS = 2**19  # of one layer's activations in a piece of the queries: 2 MiB
LONGEST_RUN = 16  # queries of an axis that are taken together
SMALLEST_BLOCK = 500  # queries of a block, on average, for it to pay

# Queries of attention.
CIAOSR_QUERIES = 1024
LMCIAOSR_CODES = 4096
SRNO_QUERIES = 4096
CLIT_QUERIES = 1024  # each with its own codes
CLIT_SHARING = 2**15  # which share codes
CLIT_TABLE = 2**23  # floats of what the decoder's first layer makes of values
LONGEST_ROW = 64  # queries of one key in a row

# Queries that rendering asks a model for on a CPU.
RENDERED = 30000
RENDERED_NARROW = 2**17  # where they are taken together, and a query is cheap
COMPOSED = 2**18  # of one scale of a picture that is composed of several
