"""One trained adapter under many language codes: for measuring what the number of languages costs, all else being equal."""

import json
import shutil
from pathlib import Path

from modeling_retrieveall.model.manifest import MANIFEST


def copies(adapter: Path, folder: Path, number: int) -> list[Path]:
    """Folders of adapters ``qaa``, ``qab``, ... (codes for private use) that differ in nothing but their code.

    Args:
        adapter: The adapter's folder.
        folder: Where the copies go.
        number: How many, at most 520.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = []
    for i in range(number):
        copy = folder / f"q{letters[i // 26]}{letters[i % 26]}"
        shutil.copytree(adapter, copy)
        manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
        (copy / MANIFEST).write_text(json.dumps({**manifest, "language": copy.name}), encoding="utf-8")
        made.append(copy)
    return made
