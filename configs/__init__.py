"""Words to checked values: YAML files and command lines."""
