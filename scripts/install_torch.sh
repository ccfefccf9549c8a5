#!/usr/bin/env bash
# Install torch into a virtual environment (default .venv), choosing the build for this machine:
#   RLAIF_TORCH=cpu|cuda        forces one;
#   an NVIDIA driver            -> the CUDA build;
#   PIP_FIND_LINKS with a wheel -> that CPU wheel (an offline or mirrored site);
#   otherwise                   -> uv's own CPU backend.
# A torch that satisfies the version and the choice is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${TORCH_VERSION:-2.13.0}
venv=${1:-.venv}
uv=$venv/bin/uv
choice=${RLAIF_TORCH:-auto}
if [ "$choice" = auto ]; then
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then choice=cuda; else choice=cpu; fi
fi
installed=$("$venv/bin/python" - <<'P' 2>/dev/null || true
from importlib.metadata import version
print(version("torch"))
P
)
case "$choice:$installed" in
    cpu:"$version"+cpu) echo "torch $installed is installed"; exit 0 ;;
    cuda:"$version"+cu* | cuda:"$version") echo "torch $installed is installed"; exit 0 ;;
esac
# --no-config: the project's exclude-dependencies would otherwise drop torch from this very request.
install=("$uv" pip install --no-config --python "$venv/bin/python")
if [ "$choice" = cuda ]; then
    echo "installing torch $version (CUDA)"
    "${install[@]}" "torch==$version"
elif ls ${PIP_FIND_LINKS:-/nonexistent}/torch-"$version"+cpu-*.whl >/dev/null 2>&1; then
    echo "installing torch $version (CPU wheel from PIP_FIND_LINKS)"
    "${install[@]}" --find-links "$PIP_FIND_LINKS" "torch==$version+cpu"
else
    echo "installing torch $version (CPU)"
    "${install[@]}" --torch-backend=cpu "torch==$version"
fi
