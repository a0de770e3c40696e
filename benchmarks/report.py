"""The form of every benchmark's result: a table for people, JSON for machines.

{"figures": [{"name", "value", "unit", "goal", "holds"}], "rows": [...], "date": "...", "commit": "...", "machine": {...}}
"""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from modeling_retrieveall.model.atomic import replacing
from modeling_retrieveall.model.base_llm import native_dtype


@dataclass(frozen=True)
class Figure:
    """One measured number that an issue or a reader asks for.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit.
        goal: What it should be at least, if there is a goal.
        at_most: Whether it should be at most the goal instead.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_most: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The figure, and whether it reaches its goal."""
        shown = {"name": self.name, "value": self.value, "unit": self.unit, "goal": self.goal}
        if self.goal is None:
            return {**shown, "holds": None}
        return {**shown, "holds": self.value <= self.goal if self.at_most else self.value >= self.goal}


def publish(title: str, figures: Sequence[Figure], rows: Sequence[dict[str, Any]], json_file: Path | None) -> None:
    """Prints rows and figures as tables, and writes them as JSON when a file is given."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # of a log, whose lines no terminal cuts
    if rows:
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
    if figures:
        console.print(_summary(figures))
    if json_file:
        write_json(figures, rows, json_file)


def _summary(figures: Sequence[Figure]) -> Table:
    summary = Table("figure", "value", "unit", "goal", "holds")
    for figure in figures:
        row = figure.to_dict()
        summary.add_row(*("" if value is None else str(value) for value in row.values()))
    return summary


def read_rows(json_file: Path) -> list[dict[str, Any]]:
    """The rows that an earlier run has written, to go on from; none without a file."""
    rows: list[dict[str, Any]] = json.loads(json_file.read_text(encoding="utf-8"))["rows"] if json_file.is_file() else []
    return rows


def write_json(figures: Sequence[Figure], rows: Sequence[dict[str, Any]], json_file: Path) -> None:
    """Writes rows and figures; the file is whole at every moment."""
    result = {
        "figures": [figure.to_dict() for figure in figures],
        "rows": list(rows),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    with replacing(json_file) as file:
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def commit() -> str | None:
    """The commit that is measured, followed by ``+`` when files differ from it; ``None`` outside of a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def machine() -> dict[str, Any]:
    """Hardware and versions a figure depends on."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16": native_dtype() is torch.bfloat16,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
