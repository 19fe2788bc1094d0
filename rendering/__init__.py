"""Read pictures from files, render them at any size, and write them to files."""
