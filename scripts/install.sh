#!/usr/bin/env bash
# Install one set of locked dependencies, then the project, into a virtual environment.
#
#   scripts/install.sh dev            everything: tests, embedded servers, training (torch too)     -> .venv
#   scripts/install.sh api DIR        the API and the client: no torch, no Celery                  -> DIR
#   scripts/install.sh worker DIR     relay and workers; torch as scripts/install_torch.sh says    -> DIR
#
# `make setup` and both stages of the Dockerfile run exactly this.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:?usage: scripts/install.sh dev|api|worker [DIR]}
venv=${2:-.venv}
uv_version=0.13.8
test -f "requirements/$set_name.txt" || { echo "no such set: $set_name (dev, api or worker)" >&2; exit 2; }
test -x "$venv/bin/python" || "${PYTHON:-python3}" -m venv "$venv"
test -x "$venv/bin/uv" || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
install=("$venv/bin/uv" pip install --no-config --quiet --python "$venv/bin/python")
"${install[@]}" --no-deps --require-hashes -r "requirements/$set_name.txt"
editable=(--editable .)
[ "$set_name" = dev ] || editable=(.)
"${install[@]}" --no-deps --build-constraints requirements/build.txt "${editable[@]}"
[ "$set_name" = api ] || scripts/install_torch.sh "$venv"
