#!/usr/bin/env bash
# Opens photographs in the browser, to zoom into with the model in weights/. Arguments go to view.py.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" requirements.txt
source scripts/venv.sh requirements-view.txt
python scripts/quickstart_images.py
python view.py load/quickstart/train/astronaut.png load/quickstart/val/chelsea.png "$@"
