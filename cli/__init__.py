"""What the programs share of the command line."""
