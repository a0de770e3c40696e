"""Copies of adapter folders with changed files, for tests of adapters that do not fit or are damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

MANIFEST = "retrieveall.json"


def edit_json(file: Path, **changes: Any) -> None:
    """Changes fields of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def edit_manifest(folder: Path, **changes: Any) -> Path:
    """Changes fields of an adapter's manifest; returns the adapter's folder."""
    edit_json(folder / MANIFEST, **changes)
    return folder


def copy_adapter(source: Path, target: Path, **changes: Any) -> Path:
    """Copies an adapter's folder and changes fields of the copy's manifest; returns the copy."""
    shutil.copytree(source, target)
    return edit_manifest(target, **changes)
