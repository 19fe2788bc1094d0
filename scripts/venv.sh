# Sourced by the other scripts: goes to the repository's root, makes .venv if needed and installs
# $1 into it. A finished installation is recognised by a copy of the requirements.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=$1
stamp=.venv/installed-$requirements
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
if ! cat requirements*.txt | cmp -s - "$stamp"; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cat requirements*.txt > "$stamp"
fi
python() { .venv/bin/python "$@"; }
