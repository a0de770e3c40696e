"""A vLLM server compared with the local base LLM: how often their entities differ, and how fast the client prepares prompts.

retrieveall export vllm served
served/serve.sh --dtype float32 --port 8000
python -m benchmarks.vllm_client --url http://localhost:8000/v1 --json benchmarks/results/vllm_client.json
"""

import itertools
import time
from typing import Annotated, Any

import torch
import typer

from benchmarks.corpus import labelled_sentences
from benchmarks.options import Json, Number, OptionalData, benchmark
from benchmarks.report import Metric, publish
from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.outputs import Extraction


@benchmark(limit=1)
def main(
    url: Annotated[str, typer.Option(help="URL of the server that `serve.sh` starts, with /v1.")],
    model: Annotated[str, typer.Option(help="The model that was exported.")] = "shipped",
    data: OptionalData = None,
    limit: Number = 20,
    dtype: Annotated[str, typer.Option(help="Data type of the local base LLM, the same as the server's.")] = "float32",
    json_file: Json = None,
) -> None:
    loaded = RetrieveAllModel.from_pretrained(model, dtype=getattr(torch, dtype))
    texts = {
        language: [example.sentence.text for example in labelled_sentences(loaded, data, language, limit)]
        for language in loaded.router.languages
    }
    together = [text for listed in texts.values() for text in listed]
    loaded.prepare(together[:limit])
    began = time.perf_counter()
    loaded.prepare(together)
    rate = len(together) / (time.perf_counter() - began)
    ours = loaded.extract(together, details=True)
    loaded.use_server(url)
    pairs = list(zip(ours, loaded.extract(together, details=True), strict=True))
    starts = itertools.accumulate(map(len, texts.values()), initial=0)
    rows = [_row(language, pairs[start : start + len(texts[language])]) for language, start in zip(texts, starts, strict=False)]
    rows.append(_row("all", pairs))
    metrics = [
        Metric("sentences routed, retrieved for and prompted a second", round(rate, 1), ""),
        Metric("texts of other entities", round(100 * rows[-1]["other entities"] / len(together), 1), "%"),
    ]
    publish(f"{url}, {dtype}", metrics, rows, json_file)


def _row(language: str, pairs: list[tuple[Extraction, Extraction]]) -> dict[str, Any]:
    same = [(a, b) for a, b in pairs if _places(a) == _places(b)]
    gaps = [abs(x.score - y.score) for a, b in same for x, y in zip(a.entities, b.entities, strict=True)]
    return {
        "language": language,
        "texts": len(pairs),
        "other entities": len(pairs) - len(same),
        "the same in other tokens": sum(_tokens(a) != _tokens(b) for a, b in same),
        "largest gap of scores": round(max(gaps, default=0.0), 4),
    }


def _places(result: Extraction) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.label) for entity in result.entities]


def _tokens(result: Extraction) -> list[list[int]]:
    return [sentence.details.answer_ids for sentence in result.sentences if sentence.details]


if __name__ == "__main__":
    main()
