"""Quantised vectors are close to the original ones at every scale, and files of earlier releases can be read."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeling_retrieveall.model.vector_files import VECTORS, read_vectors, write_vectors

HASHES = torch.tensor([3, 5], dtype=torch.int64)
NONE = torch.zeros(0, 4)


@given(rows=st.integers(0, 9), size=st.floats(1e-6, 1e4), offset=st.floats(-1e4, 1e4), seed=st.integers(0, 999))
def test_no_component_has_an_error_of_more_than_half_a_step(
    tmp_path_factory: pytest.TempPathFactory, rows: int, size: float, offset: float, seed: int
) -> None:
    file = tmp_path_factory.mktemp("vectors") / VECTORS
    generator = torch.Generator().manual_seed(seed)
    # One column is a thousand times larger than the others, as in an LLM.
    sentences = size * torch.randn(rows, 4, generator=generator) * torch.tensor([1.0, 1.0, 1.0, 1000.0]) + offset
    write_vectors(file, sentences, NONE, NONE, HASHES)
    found = read_vectors(file, 4)
    assert found.sentences.shape == (rows, 4) and found.mentions.shape == (0, 4)
    assert torch.equal(found.training_hashes, HASHES)
    if rows:
        half_a_step = (sentences.amax(0) - sentences.amin(0)) / 254 / 2
        rounding = 4 * torch.finfo(torch.float32).eps * sentences.abs().amax(0)
        assert ((found.sentences - sentences).abs() <= half_a_step * 1.001 + rounding).all()


def test_vectors_that_were_read_are_written_unchanged(tmp_path: Path) -> None:
    write_vectors(tmp_path / VECTORS, torch.randn(20, 4), NONE, NONE, HASHES)
    read_vectors(tmp_path / VECTORS, 4).write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / VECTORS).read_bytes()


def test_vectors_of_earlier_releases_can_be_read(tmp_path: Path) -> None:
    sentences = torch.randn(3, 4).half()
    save_file({"sentences": sentences, "mentions": NONE, "routing": NONE, "training_hashes": HASHES}, tmp_path / VECTORS)
    assert torch.equal(read_vectors(tmp_path / VECTORS, 4).sentences, sentences)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences.step": None}, "sentences vectors are int8, but their centre or step is missing"),
        ({"mentions.centre": torch.zeros(3)}, "mentions vectors are int8, but their centre or step"),
        ({"routing": None}, "it has no routing"),
        ({"sentences": torch.zeros(2, 3, dtype=torch.int8)}, r"sentences vectors have shape \(2, 3\), not \[n, 4\]"),
        ({"sentences.step": torch.full((4,), torch.inf)}, "sentences vectors are not all finite"),
        ({"training_hashes": torch.zeros(2)}, "training_hashes are torch.float32"),
    ],
)
def test_malformed_vectors_are_refused(tmp_path: Path, changes: dict[str, Tensor | None], message: str) -> None:
    file = tmp_path / VECTORS
    write_vectors(file, torch.randn(2, 4), NONE, NONE, HASHES)
    changed = {**load_file(file), **changes}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, file)
    with pytest.raises(ValueError, match=message):
        read_vectors(file, 4)
