"""Exports a model for vLLM: the adapters, a script that starts the server, and requests for texts.

>>> export(model, "served", ["Angela Merkel besuchte Nairobi."])
ExportSummary(adapters=31, requests=1)

served/
  serve.sh          starts the server
  adapters/de/      the files of PEFT: adapter_config.json, adapter_model.safetensors
  base/             the weights of the embedded LLM; serve.sh refers to any other base LLM by its name
  requests.jsonl    one request per sentence, in the format of OpenAI's batch files

vLLM itself was not run. The options and fields are taken from the source code of vLLM 0.33.0. The tests run the folder with a
stand-in for vLLM that constrains decoding with llguidance, which vLLM supports as well.
"""

import json
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.atomic import check_sources, updating
from ..model.backends import PreparedSentence
from ..model.embedded_llm import EMBEDDED_BASE, resolve_base
from ..model.errors import AdapterError, InputError
from ..model.language_adapter import LanguageAdapter
from ..model.lora_files import VLLM_RANKS
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.origin import BaseOrigin
from .ebnf_grammar import CharacterFormat, build_ebnf

_URL = "/v1/completions"
_SCRIPT, _ADAPTERS, _BASE, _REQUESTS = "serve.sh", "adapters", "base", "requests.jsonl"


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """The result of an export.

    Attributes:
        adapters: Number of exported adapters.
        requests: Number of requests, one for each sentence that is routed to an adapter.
    """

    adapters: int
    requests: int


def export(
    model: RetrieveAllModel,
    folder: str | Path,
    texts: Sequence[str] = (),
    language: str | None = None,
    overwrite: bool = False,
) -> ExportSummary:
    """Exports a model to a folder. LoRA weights that are on the Hub are downloaded.

    Args:
        model: The model.
        folder: The folder, which is created if it does not exist.
        texts: Texts of any length to write requests for.
        language: The language of all texts, instead of routing.
        overwrite: Whether to replace the files of an earlier export. Other files are kept.

    Returns:
        The numbers of adapters and requests.

    Raises:
        FileExistsError: The folder is not empty and ``overwrite`` is not set, or it holds no earlier export.
        InputError: The model has no languages, or the export would replace an adapter of the model or its base LLM.
        AdapterError: An adapter is damaged, or its rank is too high for vLLM.
    """
    folder = Path(folder)
    if not model.adapters:
        raise InputError("The model has no languages, so there is nothing to export. Add an adapter first.")
    origin = model.base_origin or BaseOrigin(model.config.base_model, model.config.base_revision, {})
    sources = [*(adapter.path for adapter in model.adapters.values()), Path(resolve_base(origin.name))]
    check_sources(folder / _ADAPTERS, sources)
    _check_folder(folder, overwrite)
    rank = max(map(_max_rank, model.adapters.values()))
    with updating(folder, sources) as written:
        for code, adapter in model.adapters.items():
            (written / _ADAPTERS / code).mkdir(parents=True, exist_ok=True)
            adapter.write_lora(written / _ADAPTERS / code)
        base = _base_arguments(origin, written)
        script = written / _SCRIPT
        script.write_text(_launch_script(base, sorted(model.adapters), rank, model.config.adapter_slots), encoding="utf-8")
        script.chmod(0o755)
        characters, count = CharacterFormat(model.answers), 0
        with (written / _REQUESTS).open("w", encoding="utf-8", newline="\n") as stream:
            for row in _requests(characters, model.prepare(texts, language=language, decoding="generation")):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return ExportSummary(len(model.adapters), count)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Rejects a folder in which files other than those of an earlier export would be replaced."""
    if folder.is_file() or (folder.exists() and not overwrite and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty. Choose another folder, or set `overwrite` to replace an earlier export.")
    present = [name for name in (_ADAPTERS, _BASE, _REQUESTS) if (folder / name).exists()]
    if present and not (folder / _SCRIPT).is_file():
        raise FileExistsError(
            f"{folder} contains {', '.join(present)}, but no {_SCRIPT}, so it is not an earlier export. Choose another folder."
        )


def request_body(characters: CharacterFormat, sentence: PreparedSentence) -> dict[str, Any]:
    """The body of the ``/v1/completions`` request for a sentence. Only the adapter with the largest weight is used.

    Args:
        characters: The answer format over characters.
        sentence: The sentence with its prompt.
    """
    mixture, window = sentence.route.mixture, sentence.window
    return {
        "model": max(mixture, key=lambda language: mixture[language]),
        "prompt": sentence.prompt.ids,
        "max_tokens": _longest_answer(characters.token_format.word_ids(window.sentence), characters, sentence.labels),
        "temperature": 0,
        "stop": ["\n"],
        "include_stop_str_in_output": True,
        "logprobs": 1,
        "return_token_ids": True,
        "structured_outputs": {"grammar": build_ebnf(characters, window.sentence, sentence.labels)},
    }


def _requests(characters: CharacterFormat, texts: Iterable[Sequence[PreparedSentence]]) -> Iterable[dict[str, Any]]:
    for text, sentences in enumerate(texts):
        for number, sentence in enumerate(sentences):
            body = request_body(characters, sentence)
            yield {"custom_id": f"{text}-{number}", "method": "POST", "url": _URL, "body": body}


def _longest_answer(words: Sequence[Sequence[int]], characters: CharacterFormat, labels: Sequence[str]) -> int:
    """The number of tokens of the output in which every word is a mention."""
    answers = characters.token_format
    separators = len(answers.separator + answers.next_mention) + max(
        (len(answers.label_ids(label)) for label in labels), default=0
    )
    return sum(map(len, words)) + separators * len(words) + len(answers.end)


def _max_rank(adapter: LanguageAdapter) -> int:
    """The highest rank of an adapter's layers."""
    rank = max(a.shape[0] for a in adapter.lora_shapes().a.values())
    if rank > VLLM_RANKS[-1]:
        raise AdapterError(f"{adapter.source} has the LoRA rank {rank}, but vLLM supports ranks up to {VLLM_RANKS[-1]}.")
    return rank


def _base_arguments(base: BaseOrigin, folder: Path) -> list[str]:
    """The arguments of ``vllm serve`` for the base LLM. The embedded LLM is not on the Hub in this form, so it is copied."""
    if base.name == EMBEDDED_BASE:
        (folder / _BASE).mkdir()
        for file in Path(resolve_base(EMBEDDED_BASE)).iterdir():
            if file.is_file():  # the export itself can be a subfolder
                shutil.copyfile(file, folder / _BASE / file.name)
        return [_BASE]
    path = Path(base.name).expanduser()
    if path.is_dir():
        return [str(path.resolve())]
    return [base.name, *(["--revision", base.revision] if base.revision else [])]


def _launch_script(base: Sequence[str], languages: Sequence[str], rank: int, slots: int) -> str:
    max_rank = next(allowed for allowed in VLLM_RANKS if rank <= allowed)
    # `--generation-config vllm` ignores the sampling settings of the base LLM. `processed_logprobs` are log probabilities under
    # the grammar. Where the grammar leaves no choice, llguidance allows only the usual tokenisation, like local decoding.
    lines = [
        f"exec vllm serve {shlex.join(base)} --dtype bfloat16",
        "--generation-config vllm --logprobs-mode processed_logprobs --structured-outputs-config.backend guidance",
        f"--enable-lora --max-lora-rank {max_rank} --max-loras {min(len(languages), slots)} --max-cpu-loras {len(languages)}",
        f"--lora-modules {shlex.join(f'{language}={_ADAPTERS}/{language}' for language in languages)}",
        '"$@"',
    ]
    head = "#!/bin/sh\n# Serves each adapter under its language code. Further arguments are passed to vLLM.\n"
    return f'{head}cd "$(dirname "$0")" || exit\n' + " \\\n    ".join(lines) + "\n"
