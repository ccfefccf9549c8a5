#!/usr/bin/env bash
# Re-resolve every dependency into requirements/*.txt: exact versions and hashes, no index address, no torch.
# dev.txt is the whole set; the images install a subset of it, at the same versions.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
compile() {
    local out=$1
    shift
    "$uv" pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --quiet --output-file "requirements/$out" "$@"
}
compile dev.txt --all-extras --group dev
compile api.txt --constraint requirements/dev.txt
compile worker.txt --extra worker --extra train --constraint requirements/dev.txt
echo "hatchling
editables" | "$uv" pip compile - --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
    --output-file requirements/build.txt
