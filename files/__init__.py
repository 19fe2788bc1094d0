"""Files of any kind and their paths."""
