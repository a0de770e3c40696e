"""A language adapter on disk: a saved adapter can be loaded, and a damaged one is refused with a helpful error."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.errors import AdapterError
from modeling_retrieveall.model.language_adapter import LanguageAdapter, hash_sentences, sentence_hash
from modeling_retrieveall.model.lora_bank import LoraBank
from modeling_retrieveall.model.lora_files import read_lora
from modeling_retrieveall.model.manifest import Manifest, read_manifest
from modeling_retrieveall.model.retrieval import ExampleIndex
from tests.adapter_folders import edit_json
from tests.random_adapters import copy_with_random_weights

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "retrieveall.json"
EXAMPLES, VECTORS = "examples.parquet", "retrieval.safetensors"
HINT = "Train|Download|download|pip install"


@pytest.fixture
def folder(tiny_adapter: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the German adapter, which tests damage."""
    return copy_with_random_weights(tiny_adapter("de"), tmp_path / "de", seed=0)


def edit_tensors(file: Path, **changes: torch.Tensor | None) -> None:
    tensors = {**load_file(file), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def assert_refused(folder: Path, *mentions: str) -> None:
    """Loading the adapter and its weights fails; the error names the folder, what is wrong and what to do."""
    with pytest.raises(AdapterError, match=HINT) as caught:
        LanguageAdapter.load(folder).lora_weights(torch.float32)
    for mention in (str(folder), *mentions):
        assert mention in str(caught.value)


# Saving and loading


def test_a_saved_adapter_can_be_loaded(tmp_path: Path, folder: Path) -> None:
    examples = [
        Example(Sentence.from_words(["Angela", "Merkel", "in", "北京", "."]), (Span(0, 2, "PER"), Span(3, 4, "LOC"))),
        Example(Sentence.from_words(["👨‍👩‍👧", "=", "שלום", ""]), ()),
    ]
    index = ExampleIndex(examples, torch.randn(2, 32), torch.randn(2, 32))
    manifest = Manifest("de", ["LOC", "PER"], "some/base", None, 32, 1, training={"epochs": 2}, metrics=[{"f1": 80.5}])
    hashes = hash_sentences(examples)
    saved = LanguageAdapter(manifest, index, torch.randn(3, 32), hashes, tmp_path)
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folder / name, tmp_path / name)
    saved.save_index(tmp_path)
    loaded = LanguageAdapter.load(tmp_path)
    assert loaded.manifest == manifest
    assert loaded.language == "de"
    assert loaded.index.examples == examples
    assert torch.allclose(loaded.index.sentence_vectors, index.sentence_vectors, atol=0.02)
    assert torch.allclose(loaded.index.mention_vectors, index.mention_vectors, atol=0.02)
    assert torch.equal(loaded.training_hashes, hashes)
    torch.testing.assert_close(loaded.sentence_vectors(), saved.sentence_vectors(), rtol=0, atol=0.02)
    assert loaded.sentence_vectors().shape == (5, 32)


def test_an_adapter_whose_prompts_hold_no_entities_stores_no_mention_vectors(folder: Path, tmp_path: Path) -> None:
    adapter = LanguageAdapter.load(folder)
    adapter.with_manifest(replace(adapter.manifest, n_entities=0)).save_index(tmp_path)
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folder / name, tmp_path / name)
    loaded = LanguageAdapter.load(tmp_path)
    assert len(loaded.index.mentions) == len(adapter.index.mentions) > 0
    assert loaded.index.mention_vectors.shape == (0, 32)
    assert torch.equal(loaded.index.sentence_vectors, adapter.index.sentence_vectors)
    loaded.save_index(tmp_path / "again")
    assert (tmp_path / "again" / VECTORS).read_bytes() == (tmp_path / VECTORS).read_bytes()


def test_an_adapter_whose_prompts_contain_entities_needs_mention_vectors(folder: Path) -> None:
    adapter = LanguageAdapter.load(folder)
    adapter.with_manifest(replace(adapter.manifest, n_entities=0)).save_index(folder)
    edit_json(folder / MANIFEST, n_entities=6)
    with pytest.raises(AdapterError, match="no vectors of the mentions"):
        LanguageAdapter.load(folder)


def test_saving_a_loaded_adapter_changes_no_file(folder: Path, tmp_path: Path) -> None:
    LanguageAdapter.load(folder).save_index(tmp_path / "again")
    for name in (MANIFEST, EXAMPLES, VECTORS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_trained_adapter_has_its_language_labels_and_examples(loaded_tiny_adapter: LanguageAdapter) -> None:
    assert loaded_tiny_adapter.language == "de"
    assert loaded_tiny_adapter.manifest.entity_types == ["LOC", "ORG", "PER"]
    assert len(loaded_tiny_adapter.index.examples) == 20
    # Sentences without an entity were added in training; they are known, and are no examples.
    assert loaded_tiny_adapter.known_hashes() >= {sentence_hash(e.key) for e in loaded_tiny_adapter.index.examples}


def test_an_adapter_without_examples_or_mentions_is_saved_and_loaded(folder: Path) -> None:
    adapter = LanguageAdapter.load(folder)
    empty = ExampleIndex([], torch.zeros(0, 32), torch.zeros(0, 32))
    LanguageAdapter(adapter.manifest, empty, adapter.routing_vectors, adapter.training_hashes, folder).save_index(folder)
    assert LanguageAdapter.load(folder).index.examples == []


def test_unknown_fields_of_the_manifest_are_ignored(folder: Path) -> None:
    edit_json(folder / MANIFEST, colour="blue")
    assert LanguageAdapter.load(folder).language == "de"


def test_the_weights_are_read_in_the_requested_dtype(folder: Path) -> None:
    weights = LanguageAdapter.load(folder).lora_weights(torch.bfloat16)
    assert {tensor.dtype for tensor in (*weights.a.values(), *weights.b.values())} == {torch.bfloat16}
    assert set(weights.scaling.values()) == {2.0}


# Bare PEFT


@torch.no_grad()
def test_the_folder_loads_in_bare_peft_and_gives_the_logits_of_the_bank(folder: Path, tiny_base: Path) -> None:
    ids = torch.arange(3, 60).reshape(3, 19)
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    bare = base(ids).logits
    bank = LoraBank(base, slots=1)
    bank.load("de", read_lora(folder, torch.float32))
    with bank.rows([{"de": 1.0}] * 3):
        ours = base(ids).logits
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()(ids).logits
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    assert (bare - theirs).abs().max() > 1e-2 * theirs.abs().max()


# Files that are missing


@pytest.mark.parametrize("name", [MANIFEST, CONFIG, WEIGHTS, EXAMPLES, VECTORS])
def test_a_missing_file_is_named_in_the_error(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(AdapterError, match=name) as caught:
        LanguageAdapter.load(folder)
    assert str(folder) in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="not a language adapter: there is no such folder"):
        LanguageAdapter.load(tmp_path / "nowhere")


# Files that are damaged


@pytest.mark.parametrize("content", ["{", "", "[]", "null", "3", '"de"', "{}"])
@pytest.mark.parametrize("name", [MANIFEST, CONFIG])
def test_damaged_json_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    assert_refused(folder)


@pytest.mark.parametrize("name", [MANIFEST, CONFIG])
def test_json_that_is_not_utf8_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes('{"language": "Ä"}'.encode("latin-1"))
    assert_refused(folder)


@pytest.mark.parametrize("name", [WEIGHTS, VECTORS, EXAMPLES])
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    truncate(folder / name)
    assert_refused(folder)


@pytest.mark.parametrize("name", [WEIGHTS, VECTORS, EXAMPLES])
def test_an_empty_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert_refused(folder)


def test_a_newer_schema_is_refused_with_advice_to_upgrade(folder: Path) -> None:
    edit_json(folder / MANIFEST, schema_version=2)
    with pytest.raises(AdapterError, match=r"has schema 2; this release reads up to 1\. Run: pip install -U retrieveall"):
        read_manifest(folder)


@pytest.mark.parametrize("version", ["two", None, [1]])
def test_a_schema_version_that_is_not_an_integer_is_refused(folder: Path, version: Any) -> None:
    edit_json(folder / MANIFEST, schema_version=version)
    assert_refused(folder, MANIFEST)


@pytest.mark.parametrize("name", ["language", "entity_types", "base_model", "base_revision", "hidden_size", "encoder_layer"])
def test_a_missing_field_of_the_manifest_is_named_in_the_error(folder: Path, name: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    del manifest[name]
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert_refused(folder, name)


# Examples and vectors that do not fit


def write_examples(file: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


@pytest.mark.parametrize(("start", "end"), [(0, 3), (-1, 1), (1, 1), (2, 1), (5, 6)])
def test_a_span_outside_of_its_sentence_is_refused(folder: Path, start: int, end: int) -> None:
    write_examples(folder / EXAMPLES, [{"tokens": ["Bonn", "."], "spans": [{"start": start, "end": end, "label": "LOC"}]}])
    assert_refused(folder, "outside of its 2 words")


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["Bonn"]},
        {"spans": [{"start": 0, "end": 1, "label": "LOC"}]},
        {"tokens": None, "spans": []},
        {"tokens": ["Bonn", None], "spans": []},
        {"tokens": ["Bonn"], "spans": [{"start": 0, "end": 1}]},
        {"tokens": ["Bonn"], "spans": [{"start": 0, "end": None, "label": "LOC"}]},
    ],
)
def test_an_incomplete_row_of_examples_is_refused(folder: Path, row: dict[str, Any]) -> None:
    write_examples(folder / EXAMPLES, [row])
    assert_refused(folder)


@pytest.mark.parametrize("name", ["sentences", "mentions", "routing", "training_hashes"])
def test_vectors_without_one_of_their_tensors_are_refused(folder: Path, name: str) -> None:
    edit_tensors(folder / VECTORS, **{name: None})
    assert_refused(folder, name)


@pytest.mark.parametrize("name", ["sentences", "mentions"])
def test_more_vectors_than_examples_or_mentions_are_refused(folder: Path, name: str) -> None:
    edit_tensors(folder / VECTORS, **{name: torch.zeros(1000, 32)})
    assert_refused(folder, "1000")


@pytest.mark.parametrize("name", ["sentences", "mentions", "routing"])
def test_vectors_whose_width_differs_from_the_manifest_are_refused(folder: Path, name: str) -> None:
    rows = len(load_file(folder / VECTORS)[name])
    edit_tensors(folder / VECTORS, **{name: torch.zeros(rows, 31)})
    assert_refused(folder, "31")


# LoRA weights of another kind


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"peft_type": "IA3"}])
def test_an_adapter_that_is_not_a_plain_lora_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    edit_json(folder / CONFIG, **changes)
    assert_refused(folder, "not a plain LoRA")


def test_a_lora_config_without_its_alpha_is_refused(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    del config["lora_alpha"]
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    assert_refused(folder, "lora_alpha")


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.weight",
        "strange",
    ],
)
def test_a_tensor_that_is_not_plain_lora_is_named_in_the_error(folder: Path, name: str) -> None:
    edit_tensors(folder / WEIGHTS, **{name: torch.zeros(2)})
    assert_refused(folder, name)


def test_a_lora_a_without_its_lora_b_is_named_in_the_error(folder: Path) -> None:
    edit_tensors(folder / WEIGHTS, **{"base_model.model.model.layers.0.mlp.up_proj.lora_B.weight": None})
    assert_refused(folder, "model.layers.0.mlp.up_proj")


def test_a_dora_adapter_written_by_peft_is_refused(folder: Path, tiny_base: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], use_dora=True)).save_pretrained(folder)
    assert_refused(folder, "no DoRA")


# Hashes of sentences


def test_sentence_hashes_are_signed_64_bit_integers_that_never_change() -> None:
    assert sentence_hash("Angela Merkel besuchte Nairobi .") == 3191551876936172128
    assert -(2**63) <= sentence_hash("\ud800") < 2**63
    assert len({sentence_hash(str(number)) for number in range(1000)}) == 1000


def test_hashes_are_sorted_and_distinct() -> None:
    examples = [Example(Sentence.from_words([word]), ()) for word in ("Bonn", "Graz", "Bonn")]
    assert hash_sentences(examples).tolist() == sorted({sentence_hash("Bonn"), sentence_hash("Graz")})
    assert hash_sentences([]).dtype == torch.int64


def test_an_adapter_in_a_relative_folder_is_found_after_the_working_directory_changes(
    tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_adapter("de")
    monkeypatch.chdir(folder.parent)
    adapter = LanguageAdapter.load(Path(folder.name))
    monkeypatch.chdir(tmp_path)
    assert adapter.source == folder.name and adapter.lora_weights(torch.float32).a
