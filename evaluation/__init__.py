"""Evaluate models on test sets: check all of them first, then compute the results one by one."""
