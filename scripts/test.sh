#!/usr/bin/env bash
# Everything that CI checks: format, lint, types, tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" requirements-dev.txt
python -m ruff format --check .
python -m ruff check .
python -m mypy
python -m pytest -n logical --maxprocesses 8 --dist worksteal "$@"
