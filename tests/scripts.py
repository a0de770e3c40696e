"""Runs test scripts that start processes in a separate interpreter, and kills them if they hang."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.conftest import ROOT


def run_script(code: str, folder: Path, *arguments: object, seconds: int = 300) -> str:
    """Runs a script with two OpenMP threads. Returns its output."""
    (script := folder / "script.py").write_text(dedent(code), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(script), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **streams) as process:
        try:
            printed, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # kills the processes that it has started as well
            raise
    assert process.returncode == 0, f"{printed}\n{errors}"
    return str(printed)
