"""Adapters that are stored as a difference to the multilingual adapter."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.hub.store_difference import store_difference
from modeling_retrieveall.model.errors import AdapterError
from modeling_retrieveall.model.lora_bank import LoraBank, LoraWeights
from modeling_retrieveall.model.lora_difference import join_lora, join_shapes, lora_difference
from modeling_retrieveall.model.lora_files import LORA_WEIGHTS, read_lora, write_difference
from modeling_retrieveall.model.vector_files import VECTORS, read_vectors
from tests.adapter_folders import edit_manifest
from tests.local_hub import LocalHub
from tests.random_adapters import copy_with_random_weights

LAYER = "model.layers.0.self_attn.q_proj"


def random_lora(rank: int, scaling: float, generator: torch.Generator) -> LoraWeights:
    a, b = torch.randn(rank, 12, generator=generator), torch.randn(20, rank, generator=generator)
    return LoraWeights({LAYER: a}, {LAYER: b}, {LAYER: scaling})


def update(weights: LoraWeights) -> torch.Tensor:
    """What a LoRA adds to the weights of its layer, ``[out, in]``."""
    return weights.scaling[LAYER] * weights.b[LAYER] @ weights.a[LAYER]


@given(st.integers(1, 4), st.integers(1, 4), st.floats(0.25, 4), st.integers(0, 1000))
def test_a_difference_of_full_rank_restores_the_lora(rank: int, shared_rank: int, scaling: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lora, shared = random_lora(rank, scaling, generator), random_lora(shared_rank, 2.0, generator)
    difference = lora_difference(lora, shared, rank + shared_rank)
    torch.testing.assert_close(update(join_lora(shared, difference)), update(lora), atol=1e-4, rtol=1e-4)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_a_difference_of_lower_rank_is_the_best_approximation(rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lora, shared = random_lora(4, 2.0, generator), random_lora(3, 1.0, generator)
    error = torch.linalg.norm(update(lora) - update(join_lora(shared, lora_difference(lora, shared, rank))))
    best = torch.linalg.svdvals(update(lora) - update(shared))[rank:].norm()  # Eckart-Young
    torch.testing.assert_close(error, best, atol=1e-4, rtol=1e-4)


def test_loras_of_different_modules_have_no_difference() -> None:
    lora = random_lora(2, 1.0, torch.Generator())
    other = LoraWeights({"model.layers.1.mlp.up_proj": lora.a[LAYER]}, {"model.layers.1.mlp.up_proj": lora.b[LAYER]}, {})
    with pytest.raises(AdapterError, match=r"Only one of the two LoRAs adapts 'model\.layers\.0"):
        lora_difference(lora, other, 2)


@pytest.mark.parametrize("join", [join_lora, join_shapes])
def test_loras_of_layers_of_different_sizes_cannot_be_joined(join: Callable[..., LoraWeights]) -> None:
    lora = random_lora(2, 1.0, torch.Generator())
    other = LoraWeights({LAYER: torch.ones(2, 13)}, {LAYER: torch.ones(20, 2)}, {LAYER: 1.0})
    with pytest.raises(AdapterError, match=r"input and output sizes \(12, 20\), the other one \(13, 20\)"):
        join(lora, other)


@pytest.fixture
def folders(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with `mul` and with `de`, which is stored as a difference of full rank."""
    mul = copy_with_random_weights(tiny_adapter("mul"), tmp_path / "adapters" / "mul", seed=0) / "adapter_model.safetensors"
    # As training writes it, so that a whole LoRA in bfloat16 has exactly the same values.
    save_file({name: tensor.bfloat16() for name, tensor in load_file(mul).items()}, mul, metadata={"format": "pt"})
    copy_with_random_weights(tiny_adapter("de"), tmp_path / "adapters" / "de", seed=1)
    shutil.copytree(tmp_path / "adapters" / "de", tmp_path / "whole")
    store_difference(tmp_path / "adapters" / "de", rank=16)
    return tmp_path / "adapters"


def assert_equal_updates(adapter: LanguageAdapter, whole: Path) -> None:
    weights, expected = (each.lora_weights(torch.float32) for each in (adapter, LanguageAdapter.load(whole)))
    for name in expected.a:
        found = weights.scaling[name] * weights.b[name] @ weights.a[name]
        other = expected.scaling[name] * expected.b[name] @ expected.a[name]
        torch.testing.assert_close(found, other, atol=0.02 * float(other.abs().max()), rtol=0)  # of bfloat16


@given(st.integers(1, 6), st.integers(0, 1000))
def test_a_difference_on_disk_is_within_half_a_step_and_the_rounding_of_bfloat16(rank: int, seed: int) -> None:
    lora = random_lora(rank, 1.0, torch.Generator().manual_seed(seed))
    with TemporaryDirectory() as temporary:
        config = Path(temporary) / "peft.json"
        config.write_text(json.dumps(LoraConfig(target_modules=["q_proj"]).to_dict(), default=list), encoding="utf-8")
        write_difference(Path(temporary), lora, config)
        read = read_lora(Path(temporary), torch.float32)
        assert {tensor.element_size() for tensor in load_file(Path(temporary) / LORA_WEIGHTS).values() if tensor.ndim == 2} == {1}
    largest_a, largest_b = lora.a[LAYER].abs().amax(1, keepdim=True), lora.b[LAYER].abs().amax(0)  # 127 steps
    assert ((read.a[LAYER] - lora.a[LAYER]).abs() <= largest_a * (1 / 254 + 1 / 256)).all()
    assert ((read.b[LAYER] - lora.b[LAYER]).abs() <= largest_b * (1 / 254 + 1 / 256)).all()
    assert read.scaling == {LAYER: 1.0}


@pytest.mark.parametrize("step", [torch.ones(3), torch.ones(16, dtype=torch.float64), torch.ones(16, 1)])
def test_a_difference_with_a_wrong_step_is_refused(folders: Path, step: torch.Tensor) -> None:
    weights = load_file(folders / "de" / LORA_WEIGHTS)
    name = min(name for name in weights if name.endswith("A.weight.step"))
    save_file({**weights, name: step}, folders / "de" / LORA_WEIGHTS)
    with pytest.raises(AdapterError, match="does not belong to a plain LoRA"):
        LanguageAdapter.load(folders / "de").lora_weights(torch.float32)


def test_a_difference_can_be_averaged_with_the_multilingual_adapter(folders: Path, tmp_path: Path) -> None:
    for share in (0.0, 0.5):
        parent = tmp_path / str(share)
        shutil.copytree(folders / "mul", parent / "mul")
        shutil.copytree(tmp_path / "whole", parent / "de")
        store_difference(parent / "de", rank=16, mul_share=share)
    (name, *_), multilingual = LanguageAdapter.load(folders / "mul").lora_shapes().a, LanguageAdapter.load(folders / "mul")
    updates = []
    for adapter in (multilingual, *(LanguageAdapter.load(tmp_path / share / "de") for share in ("0.5", "0.0"))):
        weights = adapter.lora_weights(torch.float32)
        updates.append(weights.scaling[name] * weights.b[name] @ weights.a[name])
    torch.testing.assert_close(updates[1], (updates[0] + updates[2]) / 2, atol=1e-4, rtol=1e-3)


def test_hashes_of_the_multilingual_adapter_are_stored_once(folders: Path, tmp_path: Path) -> None:
    whole = LanguageAdapter.load(folders.parent / "whole").training_hashes
    multilingual = LanguageAdapter.load(folders / "mul").training_hashes
    stored = read_vectors(folders / "de" / VECTORS, 32).training_hashes
    assert not set(stored.tolist()) & set(multilingual.tolist())
    adapter = LanguageAdapter.load(folders / "de")
    assert set(adapter.training_hashes.tolist()) == {*whole.tolist(), *multilingual.tolist()}
    adapter.copy_to(tmp_path, "copy")  # holds all of them again
    assert torch.equal(LanguageAdapter.load(tmp_path / "copy").training_hashes, adapter.training_hashes)


def test_a_stored_difference_is_read_as_the_whole_lora(folders: Path) -> None:
    adapter = LanguageAdapter.load(folders / "de")
    assert_equal_updates(adapter, folders.parent / "whole")
    shapes, weights = adapter.lora_shapes(), adapter.lora_weights(torch.float32)
    for side, expected in ((shapes.a, weights.a), (shapes.b, weights.b)):
        assert {name: tensor.shape for name, tensor in side.items()} == {name: tensor.shape for name, tensor in expected.items()}
    assert {a.shape[0] for a in adapter.lora_shapes().a.values()} == {adapter.manifest.training["rank"]}


def test_other_users_can_read_the_files_of_a_stored_difference(folders: Path) -> None:
    usual = (folders / "de" / "retrieveall.json").stat().st_mode
    assert {file.name: file.stat().st_mode for file in (folders / "de").iterdir() if file.stat().st_mode != usual} == {}


def test_a_model_with_stored_differences_extracts_and_saves_whole_loras(folders: Path, tmp_path: Path) -> None:
    model = RetrieveAllModel.from_pretrained(folders)
    texts = ["Angela Merkel besuchte Nairobi.", "Wangari Maathai"]
    found = model.extract(texts, language="de")
    model.save_pretrained(tmp_path / "saved")
    saved = LanguageAdapter.load(tmp_path / "saved" / "adapters" / "de")
    assert saved.manifest.multilingual_sha256 is None
    assert_equal_updates(saved, tmp_path / "whole")
    assert RetrieveAllModel.from_pretrained(tmp_path / "saved").extract(texts, language="de") == found


def test_a_copy_of_a_stored_difference_is_a_lora_of_peft(folders: Path, tmp_path: Path) -> None:
    adapter = LanguageAdapter.load(folders / "de")
    adapter.copy_to(tmp_path, "copy")
    base = AutoModelForCausalLM.from_pretrained(adapter.manifest.base_model)
    ids = torch.arange(5)[None]
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "copy"))(ids).logits
    base = AutoModelForCausalLM.from_pretrained(adapter.manifest.base_model)
    bank = LoraBank(base, slots=1)
    bank.load("de", adapter.lora_weights(torch.float32))
    with bank.rows([{"de": 1.0}]):
        torch.testing.assert_close(loaded, base(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_pushed_adapter_has_the_whole_lora(hub: LocalHub, folders: Path, tmp_path: Path) -> None:
    push_adapter(folders / "de", "ann/retrieveall-de")
    model = RetrieveAllModel.from_pretrained("ann/retrieveall-de")
    assert model.adapters["de"].manifest.multilingual_sha256 is None
    assert_equal_updates(model.adapters["de"], tmp_path / "whole")


def test_a_difference_without_its_multilingual_adapter_is_refused(folders: Path) -> None:
    shutil.rmtree(folders / "mul")
    with pytest.raises(AdapterError, match="holds only the difference to the multilingual adapter, which must be in"):
        LanguageAdapter.load(folders / "de").lora_weights(torch.float32)


def test_a_difference_to_another_multilingual_adapter_is_refused(folders: Path, tiny_adapter: Callable[[str], Path]) -> None:
    shutil.rmtree(folders / "mul")
    copy_with_random_weights(tiny_adapter("mul"), folders / "mul", seed=2)
    with pytest.raises(AdapterError, match="holds the difference to another multilingual adapter"):
        LanguageAdapter.load(folders / "de").lora_weights(torch.float32)


def test_a_manifest_with_a_wrong_type_is_refused(folders: Path) -> None:
    edit_manifest(folders / "de", multilingual_sha256=5)
    with pytest.raises(AdapterError, match="multilingual_sha256 is 5"):
        LanguageAdapter.load(folders / "de")
