"""Files and their paths, of any kind."""
