"""The model card of a language adapter, filled from its manifest.

>>> write_card(LanguageAdapter.load("runs/sw"))
PosixPath('runs/sw/README.md')
"""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..collection import shipped_adapters
from ..embedded import EMBEDDED_BASE, GEMMA_NOTICE
from ..language_adapter import LanguageAdapter, Manifest

TEMPLATE = "TEMPLATE.md"


def write_card(adapter: LanguageAdapter) -> Path:
    """Writes ``README.md`` into the adapter's folder and returns its path.

    Raises:
        ImportError: Jinja2, which fills the template, is not installed.
    """
    manifest = adapter.manifest
    card = ModelCard.from_template(
        _card_data(manifest),
        template_path=str(shipped_adapters() / TEMPLATE),
        language=manifest.language,
        entity_types=", ".join(manifest.entity_types),
        base_model=manifest.base_model,
        n_examples=len(adapter.index.examples),
        initialised_from=manifest.initialised_from,
        training=manifest.training,
        metrics=manifest.metrics,
        base_terms=GEMMA_NOTICE if manifest.base_model == EMBEDDED_BASE else None,
    )
    path = adapter.path / "README.md"
    card.save(path)
    return path


def _card_data(manifest: Manifest) -> ModelCardData:
    embedded = manifest.base_model == EMBEDDED_BASE
    return ModelCardData(
        language=manifest.language,
        license="gemma" if embedded else None,
        base_model="google/gemma-3-270m" if embedded else manifest.base_model,
        library_name="peft",
        pipeline_tag="token-classification",
        tags=["retrieveall", "named-entity-recognition", "lora"],
        model_name=f"RetrieveAll {manifest.language}",
        eval_results=[_result(manifest, metrics) for metrics in manifest.metrics] or None,
    )


def _result(manifest: Manifest, metrics: dict[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="token-classification",
        task_name="Named entity recognition",
        dataset_type=metrics["dataset"],
        dataset_name=metrics["dataset"],
        dataset_split=metrics["split"],
        metric_type="f1",
        metric_value=metrics["f1"],
    )
