"""A training run: its recipe, its state, its folder, and how it is stopped."""
