"""Copies of one adapter under many language codes, so that only the number of languages differs between measurements."""

import json
from pathlib import Path

from modeling_retrieveall import LanguageAdapter
from modeling_retrieveall.model.manifest import MANIFEST


def copies(adapter: Path, folder: Path, number: int) -> list[Path]:
    """Copies an adapter to the codes ``qaa``, ``qab``, ..., which ISO 639 reserves for private use.

    Args:
        adapter: Folder of the adapter.
        folder: Folder for the copies.
        number: Number of copies, at most 520.

    Returns:
        The folders of the copies.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = []
    for i in range(number):
        copy = folder / f"q{letters[i // 26]}{letters[i % 26]}"
        LanguageAdapter.load(adapter).copy_to(folder, copy.name)
        manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
        (copy / MANIFEST).write_text(json.dumps({**manifest, "language": copy.name}), encoding="utf-8")
        made.append(copy)
    return made
