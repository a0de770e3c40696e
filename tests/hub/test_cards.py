"""Model cards: the metadata that the Hub reads, the text, and the code examples, which are executed."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants

from modeling_retrieveall import LanguageAdapter, RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.data.loading import dataset_name
from modeling_retrieveall.hub.card_metadata import Dataset
from modeling_retrieveall.hub.cards import adapter_card, is_generated, model_card
from modeling_retrieveall.model.embedded_llm import embedded_path
from modeling_retrieveall.model.entities import Example
from modeling_retrieveall.model.manifest import Manifest, read_manifest
from modeling_retrieveall.model.model_source import shipped_adapters
from modeling_retrieveall.model.retrieval import ExampleIndex
from tests.conftest import SENTENCES, example
from tests.local_hub import LocalHub
from tests.local_hub.cards import front_matter

SHIPPED = sorted(file.parent.name for file in shipped_adapters().glob("*/retrieveall.json"))
COMMIT = "0f" * 20
SCORES = {"precision": 90.0, "recall": 80.0, "f1": 84.7}
MEASURED = {
    **{"dataset": "unimelb-nlp/wikiann:de", "split": "test", **SCORES, "n_test": 100},
    "per_type": {label: {**SCORES, "support": 60} for label in ("LOC", "ORG", "PER")},
}
"""Results on a test set."""
SOURCES = {"de": f"someone/retrieveall-de@{COMMIT}", "ru": "adapters/ru", "mul": "adapters/mul"}
"""The sources of the adapters of a model."""


def shipped(language: str) -> LanguageAdapter:
    return LanguageAdapter.load(shipped_adapters() / language)


def with_manifest(*examples: Example, **changes: Any) -> LanguageAdapter:
    """An adapter with a whole LoRA, the manifest of the shipped German one, apart from ``changes``, and the given examples."""
    changes = {"multilingual_sha256": None, "metrics": [MEASURED], **changes}
    manifest = replace(read_manifest(shipped_adapters() / "de"), **changes)
    nothing, vectors = torch.zeros(0, manifest.hidden_size), torch.zeros(len(examples), manifest.hidden_size)
    return LanguageAdapter(manifest, ExampleIndex(examples, vectors, vectors), nothing, nothing, Path("nowhere"))


def reread(card: ModelCard) -> ModelCard:
    return ModelCard(str(card))


def code(card: ModelCard, heading: str, language: str = "python") -> str:
    """The code block under a heading."""
    return re.search(rf"### {heading}\n.*?```{language}\n(.*?)```", card.text, flags=re.DOTALL)[1]  # type: ignore[index]


def labelled(card: ModelCard) -> str:
    """The expected output for the sentence in the code examples."""
    return re.search(r"labelled `(.*?)`\.", card.text)[1]  # type: ignore[index]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    with LocalHub({}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        yield hub


# Metadata


@pytest.mark.parametrize("language", SHIPPED)
def test_shipped_cards_are_up_to_date_with_their_manifests(language: str) -> None:
    adapter = shipped(language)
    assert (adapter.path / "README.md").read_text(encoding="utf-8") == str(adapter_card(adapter))


def test_metadata_describes_the_adapter() -> None:
    data = reread(adapter_card(with_manifest(), "someone/retrieveall-de")).data
    assert (data.language, data.license, data.library_name, data.pipeline_tag) == ("de", "gemma", "peft", "token-classification")
    assert (data.base_model, data.base_model_relation) == ("google/gemma-3-270m", "adapter")
    assert (data.datasets, data.model_name) == (["unimelb-nlp/wikiann"], "someone/retrieveall-de")
    assert {"retrieveall", "named-entity-recognition", "lora"} <= set(data.tags)


def test_metadata_has_the_results_of_the_manifest() -> None:
    results = reread(adapter_card(with_manifest())).data.eval_results
    assert {(r.task_type, r.dataset_type, r.dataset_config, r.dataset_split) for r in results} == {
        ("token-classification", "unimelb-nlp/wikiann", "de", "test")
    }
    names = ("Precision", "Recall", "F1")
    expected = {f"{name}{label}": SCORES[name.lower()] for name in names for label in ("", " (LOC)", " (ORG)", " (PER)")}
    assert {r.metric_name: r.metric_value for r in results} == expected


def test_the_multilingual_adapter_has_the_language_mul_and_two_datasets() -> None:
    card = reread(adapter_card(shipped("mul")))
    assert (card.data.language, card.data.eval_results, card.data.model_name) == ("mul", None, None)
    assert card.data.datasets == ["unimelb-nlp/wikiann", "universalner/universal_ner"]
    assert "Not measured." in card.text


def test_the_hub_accepts_every_shipped_card(hub: LocalHub) -> None:
    for language in SHIPPED:
        adapter_card(shipped(language), f"someone/retrieveall-{language}", "someone/retrieveall").validate()
    assert [call.status for call in hub.requests] == [200] * len(SHIPPED)


def test_a_language_with_a_script_is_in_the_bcp47_field(hub: LocalHub) -> None:
    card = adapter_card(with_manifest(language="zh-Hant"))
    assert (card.data.language, card.data.language_bcp47) == ("zh", ["zh-Hant"])
    card.validate()
    norwegian = adapter_card(with_manifest(language="no"))
    assert front_matter(str(norwegian))["language"] == "no"


def test_a_local_file_is_not_listed_as_a_dataset_of_the_hub(tmp_path: Path) -> None:
    assert dataset_name("unimelb-nlp/wikiann:sw") == "unimelb-nlp/wikiann:sw"
    recorded = dataset_name(str(SENTENCES / "sw.conll"))
    assert (recorded, Dataset.parse(recorded)) == ("./sw.conll", Dataset("sw.conll", None, None))
    results = {"dataset": recorded, "split": "validation", "precision": 90.0, "recall": 80.0, "f1": 84.7}
    card = reread(adapter_card(with_manifest(training={"datasets": [recorded]}, metrics=[results])))
    assert card.data.datasets is None
    assert {(r.dataset_type, r.dataset_config) for r in card.data.eval_results} == {("unknown", "sw.conll")}
    assert "| sw.conll (not on the Hub) | validation | **all** | 90.0 | 80.0 | 84.7 |" in card.text


@pytest.mark.parametrize(("n", "listed"), [(13, False), (50, True)])
def test_results_on_few_sentences_are_in_the_table_but_not_in_the_metadata(n: int, listed: bool) -> None:
    scores = {"precision": 90.0, "recall": 80.0, "f1": 84.7}
    results = {
        "dataset": "./sw.conll",
        "split": "validation",
        **scores,
        "n_test": n,
        "per_type": {"PER": {**scores, "support": 60}},
    }
    card = reread(adapter_card(with_manifest(metrics=[results])))
    assert bool(card.data.eval_results) == listed and ("fewer than 50 sentences" in card.text) != listed
    assert f"| **all** | 90.0 | 80.0 | 84.7 | {n} sentences |" in card.text


def test_the_path_of_a_local_base_is_omitted_and_a_base_from_the_hub_is_pinned() -> None:
    local = adapter_card(with_manifest(base_model="/home/someone/llama", base_revision=None))
    assert "base_model" not in local.data.to_dict() and "license" not in local.data.to_dict()
    assert "/home" not in str(local) and "- **Base LLM:** llama (not on the Hub)" in local.text
    pinned = adapter_card(with_manifest(base_model="Qwen/Qwen3-0.6B", base_revision=COMMIT))
    assert (pinned.data.base_model, pinned.data.get("license")) == ("Qwen/Qwen3-0.6B", None)
    assert f'from_pretrained("Qwen/Qwen3-0.6B", revision="{COMMIT}")' in pinned.text
    assert "Gemma" not in pinned.text


@pytest.mark.parametrize(("calibration", "text"), [({}, "not calibrated"), ({"tags": [0.8, 0.0]}, "are calibrated on held-out")])
def test_the_card_says_whether_scores_are_calibrated(calibration: dict[str, list[float]], text: str) -> None:
    assert text in adapter_card(with_manifest(score_calibration=calibration)).text


# Untrusted manifests


HOSTILE = "]({{ 7*7 }})\n---\n# pwned | <script>alert(1)</script> `x` ![](http://x) \u2028\ud800 {% raw %}"


def test_an_untrusted_manifest_cannot_add_markup(hub: LocalHub) -> None:
    results = {"dataset": HOSTILE, "split": HOSTILE, "precision": 1.5, "recall": 2.5, "f1": 3.5}
    untrusted = with_manifest(
        example("Bonn liegt am Rhein.", (0, 1, HOSTILE)),
        entity_types=[HOSTILE],
        initialised_from=HOSTILE,
        training={name: HOSTILE for name in ("sentences", "rank", "hardware", "note", "loss")}
        | {"datasets": [HOSTILE, {}, None]},
        metrics=[
            {**results, "per_type": {HOSTILE: results}, "n_test": HOSTILE, "n_dropped": HOSTILE},
            {**results, "f1": HOSTILE},
            {**results, "f1": 10**400, "per_type": HOSTILE},
            {"precision": float("nan")},
        ],
    )
    card = adapter_card(untrusted, "someone/untrusted")
    card.validate()
    assert {r.metric_value for r in reread(card).data.eval_results} == {1.5, 2.5, 3.5}
    text = card.content.encode("utf-8").decode("utf-8").split("\n---\n", 1)[1]
    assert "\n---\n" not in text and "\n# pwned" not in text and "<script" not in text and "49" not in text
    assert not re.search(r"(?<!\\)[|`]\s*x|(?<!\\)\]\(\{", text)
    rows = [line for line in text.splitlines() if line.startswith("|") and "pwned" in line]
    assert rows and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 8}


def test_the_quoted_sentence_needs_no_escaping_in_code() -> None:
    quotes = example("Sie sagte \"Bonn\" und 'Köln' \\ `x`", (3, 4, "LOC"))
    plain = example("Köln liegt am Rhein.", (0, 1, "LOC"))
    assert "Köln liegt am Rhein." in code(adapter_card(with_manifest(quotes, plain)), "With RetrieveAll")
    card = adapter_card(with_manifest(quotes))
    assert "Wangari Maathai" in code(card, "With RetrieveAll") and "own examples" not in card.text


# Use


@pytest.mark.parametrize("model_repo", [None, "someone/model"])
def test_the_code_of_a_card_runs(
    embedded_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], model_repo: str | None
) -> None:
    card = adapter_card(shipped("de"), model_repo=model_repo)
    if model_repo:
        RetrieveAllModel.from_pretrained("shipped", languages=["ru"]).save_pretrained(tmp_path / "model")
    block = code(card, "With RetrieveAll")
    assert ("trust_remote_code=True" in block) == bool(model_repo)
    exec(block.replace("someone/model", str(tmp_path / "model")).replace("path/to/this/folder", str(shipped_adapters() / "de")))
    found = [line.rsplit(" ", 3)[0] for line in capsys.readouterr().out.splitlines()]
    assert "; ".join(" = ".join(reversed(line.split(" ", 1))) for line in found) == labelled(card)


def test_the_peft_code_of_a_copy_of_a_shipped_adapter_runs(
    embedded_base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = LanguageAdapter.load(tmp_path / shipped("de").copy_to(tmp_path, "de"))
    card = adapter_card(copy)
    block = code(card, "With PEFT alone")
    exec(block.replace("google/gemma-3-270m", str(embedded_path())).replace("path/to/this/folder", str(copy.path)))
    assert capsys.readouterr().out.strip() == labelled(card)


def test_the_vllm_commands_are_well_formed() -> None:
    card = adapter_card(with_manifest(language="ta", training={"rank": 8}), "someone/retrieveall-ta")
    serve, _, curl = code(card, "With vLLM", "sh").partition("\n")
    assert shlex.split(serve)[-5:] == ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", "ta=someone/retrieveall-ta"]
    request = json.loads(shlex.split(curl)[-1])
    assert (request["model"], request["stop"]) == ("ta", "\n") and request["prompt"].endswith("\nEntities:")
    assert "--max-lora-rank 32 " in adapter_card(with_manifest(training={"rank": 24})).text


def test_an_adapter_that_cannot_generate_has_no_code_for_peft_and_vllm() -> None:
    generating, tagging = (adapter_card(with_manifest(decodings=each)).text for each in (["tags", "generation"], ["tags"]))
    for text in ("### With PEFT alone", "### With vLLM", "vllm serve", "Entities:", "in the examples above"):
        assert text in generating and text not in tagging
    assert "PEFT and vLLM cannot use the adapter alone, because it was trained to tag words" in tagging


def test_the_code_names_the_repositories() -> None:
    card = adapter_card(shipped("de"), "someone/retrieveall-de", "someone/retrieveall")
    block = code(card, "With RetrieveAll")
    assert '"someone/retrieveall", trust_remote_code=True' in block
    assert 'model.add_language("someone/retrieveall-de", revision="main")' in block
    assert "<owner>" not in card.text


# Models


@pytest.fixture
def manifests() -> dict[str, Manifest]:
    found = {language: read_manifest(shipped_adapters() / language) for language in ("ru", "mul", "de")}
    return {
        language: replace(
            manifest,
            multilingual_sha256=None,
            metrics=[] if language == "mul" else [{**MEASURED, "dataset": f"unimelb-nlp/wikiann:{language}"}],
        )
        for language, manifest in found.items()
    }


def test_the_card_of_a_model_lists_its_languages(manifests: dict[str, Manifest], hub: LocalHub) -> None:
    card = reread(model_card(RetrieveAllConfig(), manifests, SOURCES, "someone/retrieveall"))
    card.validate()
    data = card.data
    assert (data.language, data.library_name, data.base_model) == (["de", "ru"], "transformers", "google/gemma-3-270m")
    assert "multilingual" in data.tags and data.base_model_relation == "adapter"
    assert {r.dataset_config for r in data.eval_results} == {"de", "ru"} and len(data.eval_results) == 2 * 3 * 4
    link = f"[someone/retrieveall-de](https://huggingface.co/someone/retrieveall-de/tree/{COMMIT})"
    assert f"| `de` | {link} | LOC, ORG, PER | 84.7" in card.text
    assert "| `ru` | adapters/ru | LOC, ORG, PER | 84.7" in card.text
    sentences = manifests["mul"].training["sentences"]
    assert f"| `mul` | adapters/mul | LOC, ORG, PER | not measured | {sentences} |" in card.text
    download, serve = code(card, "With vLLM", "sh").splitlines()
    assert download == "hf download someone/retrieveall --local-dir retrieveall"
    assert serve.endswith(" de=someone/retrieveall-de mul=retrieveall/adapters/mul ru=retrieveall/adapters/ru")
    assert f'PeftModel.from_pretrained(base, "someone/retrieveall-de", revision="{COMMIT}")' in card.text


@pytest.mark.parametrize(("shown", "n_entities", "n_sentences"), [(False, 0, 0), (True, 6, 0), (True, 0, 2)])
def test_the_card_of_a_model_mentions_retrieval_only_if_prompts_contain_examples(
    manifests: dict[str, Manifest], shown: bool, n_entities: int, n_sentences: int
) -> None:
    manifests["de"] = replace(manifests["de"], n_entities=n_entities, n_sentences=n_sentences)
    text = model_card(RetrieveAllConfig(), manifests, SOURCES).text
    assert ("retrieves the most similar" in text) == shown
    assert ("you lose routing, retrieved examples, scores" in " ".join(text.split())) == shown


def test_the_card_of_a_model_has_code_for_peft_and_vllm_only_for_adapters_that_generate(manifests: dict[str, Manifest]) -> None:
    manifests["de"] = replace(manifests["de"], decodings=["tags"])
    card = model_card(RetrieveAllConfig(), manifests, SOURCES)
    assert 'PeftModel.from_pretrained(base, "path/to/this/folder", subfolder="adapters/ru")' in code(card, "With PEFT alone")
    serve = shlex.split(code(card, "With vLLM", "sh"))
    assert serve[-2:] == ["mul=path/to/this/folder/adapters/mul", "ru=path/to/this/folder/adapters/ru"]
    assert serve[serve.index("--max-loras") + 1] == "2" and "The other adapters are not in the command" in card.text
    tagging = {language: replace(manifest, decodings=["tags"]) for language, manifest in manifests.items()}
    text = model_card(RetrieveAllConfig(), tagging, SOURCES).text
    assert "PEFT and vLLM cannot use the adapters alone" in text and "vllm serve" not in text and "Entities:" not in text


def test_the_peft_code_of_a_model_card_runs(
    tiny_base: Path, tiny_adapter: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(tiny_adapter("de"))
    card = model_card(RetrieveAllConfig(base_model=manifest.base_model), {"de": manifest}, {"de": "de"})
    block = code(card, "With PEFT alone")
    exec(block.replace("path/to/the/base/llm", str(tiny_base)).replace("path/to/this/folder", str(tiny_adapter("de").parent)))
    assert capsys.readouterr().out


def test_a_malformed_source_is_rejected(manifests: dict[str, Manifest]) -> None:
    with pytest.raises(ValueError, match="is not the source of an adapter"):
        model_card(RetrieveAllConfig(), manifests, {"de": "de; rm -rf /", "ru": "ru", "mul": "mul"})


# Edits


def test_an_edited_card_is_not_recognised_as_generated() -> None:
    text = str(adapter_card(shipped("de")))
    assert is_generated(text)
    assert is_generated(text.replace("\n", "\r\n"))
    assert not is_generated(text.replace("# RetrieveAll", "# My RetrieveAll"))
    assert not is_generated("# German")


def test_cards_of_earlier_releases_are_recognised_as_generated() -> None:
    note = "Written by RetrieveAll, and written anew at every push unless it is edited: "
    digest = hashlib.sha256(b"#German").hexdigest()[:16]
    assert is_generated(f"# German\n\n<!-- {note}{digest} -->\n")
    assert not is_generated(f"# Swiss German\n\n<!-- {note}{digest} -->\n")


# Training


def test_the_card_of_a_trained_adapter_has_its_training_settings(tiny_adapter: Callable[[str], Path]) -> None:
    folder = tiny_adapter("de")
    training = read_manifest(folder).training
    assert training["datasets"] == ["./de.conll"] and training["duplicates_dropped"] == 0 and "CPU cores" in training["hardware"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---\n")[1])["language"] == "de"
    assert f"| Training sentences | {training['sentences']} |" in text
    assert f"| Exact duplicates removed | {training['duplicates_dropped']} |" in text
    assert str(folder.parent) not in text


@pytest.mark.parametrize(
    "names", [("num_train_epochs", "max_train_samples", "examples_share"), ("epochs", "max_train_examples", "knowledge_share")]
)
def test_a_card_shows_present_and_former_names_of_training_arguments(
    loaded_tiny_adapter: LanguageAdapter, names: tuple[str, ...]
) -> None:
    manifest = replace(loaded_tiny_adapter.manifest, training=dict(zip(names, (7, 600, 0.3), strict=True)))
    adapter = LanguageAdapter(
        manifest, loaded_tiny_adapter.index, torch.zeros(0, 1), loaded_tiny_adapter.training_hashes, loaded_tiny_adapter.path
    )
    text = adapter_card(adapter).text
    assert "| Epochs | 7 |" in text and "| Maximum sentences per dataset | 600 |" in text
    assert "| Share of training prompts with retrieved examples | 0.3 |" in text
