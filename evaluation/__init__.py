"""Models on test sets: a check of all of them, and then results, one after another."""
