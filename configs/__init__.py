"""Checked values from YAML files and command lines."""
