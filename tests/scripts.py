"""Scripts that start or fork processes: run in an interpreter of their own, and killed if they hang."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.conftest import ROOT


def run_script(code: str, folder: Path, *arguments: object, seconds: int = 300) -> str:
    """Runs a script with two OpenMP threads; returns what it prints."""
    (script := folder / "script.py").write_text(dedent(code), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
