"""What vLLM needs to answer in place of the base LLM here: the adapters, unchanged, the line that starts it, and requests.

>>> export(model, "served", ["Angela Merkel besuchte Nairobi."])
Exported(adapters=7, requests=1)

served/
  serve.sh          the launch line
  adapters/de/      plain PEFT: adapter_config.json, adapter_model.safetensors
  base/             the weights of the embedded LLM; any other base is named by serve.sh
  requests.jsonl    a request a sentence, in the form of OpenAI's batch files

vLLM itself was not run. The options and fields are those of its release 0.33.0, read in its source; tests serve the folder by a
stand-in that constrains decoding with llguidance, as vLLM can.
"""

import json
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub.cards import VLLM_RANKS
from ..model.atomic import check_sources, updating
from ..model.backends import PreparedSentence
from ..model.configuration_retrieveall import RetrieveAllConfig
from ..model.embedded_llm import EMBEDDED_BASE, resolve_base
from ..model.language_adapter import LanguageAdapter
from ..model.lora_files import LORA_CONFIG, LORA_WEIGHTS, AdapterError
from ..model.modeling_retrieveall import RetrieveAllModel
from .ebnf_grammar import SpelledFormat, grammar_text

_URL = "/v1/completions"
_SCRIPT, _ADAPTERS, _BASE, _REQUESTS = "serve.sh", "adapters", "base", "requests.jsonl"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        adapters: Adapters that the launch line names.
        requests: Requests, one for each sentence that an adapter serves.
    """

    adapters: int
    requests: int


def export(
    model: RetrieveAllModel,
    folder: str | Path,
    texts: Sequence[str] = (),
    languages: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes the folder. LoRA weights on the Hub are fetched.

    Args:
        model: The model.
        folder: Where to; made if missing.
        texts: Texts of any length to write requests for.
        languages: The language of all texts, instead of routing.
        overwrite: Replace what an earlier export has left there; other files stay.

    Raises:
        FileExistsError: There is something in the folder, and ``overwrite`` is not set or it is not of an earlier export.
        InputError: The export would replace an adapter that the model has loaded, or its base LLM.
        AdapterError: An adapter is damaged, or of a rank that vLLM does not serve.
    """
    folder = Path(folder)
    sources = [*(adapter.path for adapter in model.adapters.values()), Path(resolve_base(model.config.base_model))]
    check_sources(folder / _ADAPTERS, sources)
    _check_folder(folder, overwrite)
    rank = max(map(_rank, model.adapters.values()))
    with updating(folder, sources) as written:
        for language, adapter in model.adapters.items():
            _copy_adapter(adapter, written / _ADAPTERS / language)
        base = _base(model.config, written)
        script = written / _SCRIPT
        script.write_text(_launch(base, sorted(model.adapters), rank, model.config.adapter_slots), encoding="utf-8")
        script.chmod(0o755)
        spelled, count = SpelledFormat(model.answers), 0
        with (written / _REQUESTS).open("w", encoding="utf-8", newline="\n") as stream:
            for row in _requests(spelled, model.prepare(texts, language=languages, decoding="generation")):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return Exported(len(model.adapters), count)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuses a folder in which something else than an earlier export would be replaced."""
    if folder.is_file() or (folder.exists() and not overwrite and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty. Choose another folder, or set overwrite to replace an earlier export.")
    there = [name for name in (_ADAPTERS, _BASE, _REQUESTS) if (folder / name).exists()]
    if there and not (folder / _SCRIPT).is_file():
        raise FileExistsError(
            f"{folder} holds {', '.join(there)}, but is no earlier export: it has no {_SCRIPT}. Choose another."
        )


def request_body(spelled: SpelledFormat, sentence: PreparedSentence) -> dict[str, Any]:
    """The body of a ``/v1/completions`` request for a sentence, which is decoded with the adapter of the largest weight.

    Args:
        spelled: The answer format in characters.
        sentence: The sentence with its prompt.
    """
    mixture, window = sentence.route.mixture, sentence.window
    return {
        "model": max(mixture, key=lambda language: mixture[language]),
        "prompt": sentence.prompt.ids,
        "max_tokens": _longest_answer(spelled.in_tokens.word_ids(window.sentence), spelled, sentence.labels),
        "temperature": 0,
        "stop": ["\n"],
        "include_stop_str_in_output": True,
        "logprobs": 1,
        "return_token_ids": True,
        "structured_outputs": {"grammar": grammar_text(spelled, window.sentence, sentence.labels)},
    }


def _requests(spelled: SpelledFormat, texts: Iterable[Sequence[PreparedSentence]]) -> Iterable[dict[str, Any]]:
    for text, sentences in enumerate(texts):
        for number, sentence in enumerate(sentences):
            body = request_body(spelled, sentence)
            yield {"custom_id": f"{text}-{number}", "method": "POST", "url": _URL, "body": body}


def _longest_answer(words: Sequence[Sequence[int]], spelled: SpelledFormat, labels: Sequence[str]) -> int:
    """Tokens of the answer in which every word is a mention."""
    answers = spelled.in_tokens
    marks = len(answers.separator + answers.next_mention) + max((len(answers.label_ids(label)) for label in labels), default=0)
    return sum(map(len, words)) + marks * len(words) + len(answers.end)


def _rank(adapter: LanguageAdapter) -> int:
    """The highest of its layers."""
    rank = max(a.shape[0] for a in adapter.lora_shapes().a.values())
    if rank > VLLM_RANKS[-1]:
        raise AdapterError(f"{adapter.source} has rank {rank}; vLLM serves ranks up to {VLLM_RANKS[-1]}.")
    return rank


def _copy_adapter(adapter: LanguageAdapter, target: Path) -> None:
    """Copies what PEFT has written of an adapter."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (LORA_CONFIG, LORA_WEIGHTS):
        shutil.copyfile(adapter.path / name, target / name)


def _base(config: RetrieveAllConfig, folder: Path) -> list[str]:
    """How the launch line names the base: the embedded LLM is on no Hub as the adapters know it, so its weights come along."""
    if config.base_model == EMBEDDED_BASE:
        (folder / _BASE).mkdir()
        for file in Path(resolve_base(EMBEDDED_BASE)).iterdir():
            if file.is_file():  # the export itself may lie there
                shutil.copyfile(file, folder / _BASE / file.name)
        return [_BASE]
    path = Path(config.base_model).expanduser()
    if path.is_dir():
        return [str(path.resolve())]
    return [config.base_model, *(["--revision", config.base_revision] if config.base_revision else [])]


def _launch(base: Sequence[str], languages: Sequence[str], rank: int, slots: int) -> str:
    max_rank = next(allowed for allowed in VLLM_RANKS if rank <= allowed)
    # Sampling settings of the base are none of ours, scores are probabilities under the grammar, and of characters without
    # alternative llguidance admits the usual tokens alone, as we do.
    lines = [
        f"exec vllm serve {shlex.join(base)} --dtype bfloat16",
        "--generation-config vllm --logprobs-mode processed_logprobs --structured-outputs-config.backend guidance",
        f"--enable-lora --max-lora-rank {max_rank} --max-loras {min(len(languages), slots)} --max-cpu-loras {len(languages)}",
        f"--lora-modules {shlex.join(f'{language}={_ADAPTERS}/{language}' for language in languages)}",
        '"$@"',
    ]
    head = "#!/bin/sh\n# Serves each adapter under the code of its language; further options of vLLM may be given.\n"
    return f'{head}cd "$(dirname "$0")" || exit\n' + " \\\n    ".join(lines) + "\n"
