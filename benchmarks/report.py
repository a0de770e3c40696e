"""The result of a benchmark: tables for people, and a JSON file for programs.

{"metrics": [{"name", "value", "unit", "goal", "holds"}], "rows": [...], "date": "...", "commit": "...", "machine": {...}}

Older result files have the key "figures" instead of "metrics", and neither date nor commit.
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
class Metric:
    """One number that a benchmark reports.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit.
        goal: The value to reach; ``None`` if there is no goal.
        at_most: Whether the goal is an upper limit instead of a lower one.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_most: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The metric as JSON, with ``holds``: whether it reaches its goal."""
        fields = {"name": self.name, "value": self.value, "unit": self.unit, "goal": self.goal}
        if self.goal is None:
            return {**fields, "holds": None}
        return {**fields, "holds": self.value <= self.goal if self.at_most else self.value >= self.goal}


def publish(title: str, metrics: Sequence[Metric], rows: Sequence[dict[str, Any]], json_file: Path | None) -> None:
    """Prints rows and metrics as tables, and writes them as JSON if a file is given."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a log file has no width that would cut lines
    if rows:
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
    if metrics:
        console.print(_summary(metrics))
    if json_file:
        write_json(metrics, rows, json_file)


def _summary(metrics: Sequence[Metric]) -> Table:
    summary = Table("metric", "value", "unit", "goal", "holds")
    for metric in metrics:
        row = metric.to_dict()
        summary.add_row(*("" if value is None else str(value) for value in row.values()))
    return summary


def read_rows(json_file: Path) -> list[dict[str, Any]]:
    """The rows that an earlier run wrote, so that this run can resume; empty if there is no file."""
    rows: list[dict[str, Any]] = json.loads(json_file.read_text(encoding="utf-8"))["rows"] if json_file.is_file() else []
    return rows


def write_json(metrics: Sequence[Metric], rows: Sequence[dict[str, Any]], json_file: Path) -> None:
    """Writes rows and metrics. The file is replaced in one step, so an interrupted run never leaves half of it."""
    result = {
        "metrics": [metric.to_dict() for metric in metrics],
        "rows": list(rows),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    with replacing(json_file) as file:
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def commit() -> str | None:
    """The commit that is measured, followed by ``+`` if files differ from it; ``None`` outside a git checkout."""
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
    """The hardware and the versions that a result depends on."""
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
