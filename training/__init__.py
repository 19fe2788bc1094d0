"""Training runs: the recipe, the state, the folder, and how a run is stopped."""
