"""Pictures from files, rendered at any size, to files."""
