"""Fast ways for queries to read the codes of an encoded image."""
