"""What the fork server imports, and that a child may compute after the fork."""

from __future__ import annotations

import subprocess
import sys

from workers.forkserver import GPU_MODULES, IO_MODULES

IMPORTS = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print("torch" in sys.modules and ("cuda" if sys.modules["torch"].cuda.is_initialized() else "torch"))
"""
COMPUTES = """
import sys
from app.rlaif.pipeline import Queue
from workers import forkserver

if __name__ == "__main__":
    from tests.integration.engine.test_forkserver import compute
    forkserver.warm([Queue.GPU])
    children = [forkserver._context.Process(target=compute) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    sys.exit(max(1 if child.exitcode is None else abs(child.exitcode) for child in children))
"""


def compute() -> None:
    """What hangs in a child when its parent has computed before the fork."""
    import torch

    torch.set_num_threads(2)
    for _ in range(20):
        torch.randn(400, 400) @ torch.randn(400, 400)


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_io_children_have_no_torch() -> None:
    assert run(IMPORTS.format(modules=IO_MODULES)) == "False\n"


def test_gpu_modules_exist_and_leave_cuda_alone() -> None:
    """The fork server passes over what it cannot import without a word, so a wrong name would only be slow."""
    assert run(IMPORTS.format(modules=GPU_MODULES)) == "torch\n"


def test_children_of_a_warm_fork_server_can_compute() -> None:
    run(COMPUTES)
