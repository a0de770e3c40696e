"""A decoding backend that uses a vLLM server: routing, retrieval and prompts run locally, decoding runs on the server.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.use_server("http://localhost:8000/v1")
>>> model.extract("Angela Merkel besuchte Nairobi.").entities[0]
Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99)

Start the server with the ``serve.sh`` that ``retrieveall export vllm`` writes. Locally the base LLM is used only as the encoder,
up to ``encoder_layer``, and no LoRA weights are read. The server generates answers; results differ from local generation in three
ways:

* The server can tokenise the same output differently. Its scores also depend on the choice between tokenisations.
* A sentence that is routed to several adapters is decoded with the one of the largest weight.
* Of words that occur several times, the first occurrence is taken.

This backend was tested against a stand-in for vLLM, not against vLLM itself; see :mod:`vllm_export`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import APIError, OpenAI

from ..model.answer_format import AnswerFormat
from ..model.backends import PreparedSentence
from ..model.decoding import Answer
from ..model.errors import ServerError
from ..model.prompting import Decoding
from .ebnf_grammar import CharacterFormat, parse_answer
from .vllm_export import request_body


class VLLMBackend:
    """A decoding backend that sends ``batch_size`` requests at a time to a vLLM server. Choose a larger batch size than locally.

    Args:
        url: The address of the server, with ``/v1``.
        answers: The answer format over the tokenizer of the served base LLM.
        api_key: The API key of the server.

    Examples:
        >>> model.use_server("http://localhost:8000/v1")
        >>> model.extract(texts, batch_size=64)
    """

    def __init__(self, url: str, answers: AnswerFormat, api_key: str = "none") -> None:
        self.decodings: Sequence[Decoding] = ("generation",)
        self.url = url
        self._client = OpenAI(base_url=url, api_key=api_key)
        self._characters = CharacterFormat(answers)
        self._served: set[str] = set()

    def load_adapter(self, language: str) -> None:
        """Checks that the server has the adapter of a language.

        Raises:
            ServerError: The server lacks the adapter, or cannot be reached.
        """
        if language not in self._served:
            self._served = self._models()
        if language not in self._served:
            raise ServerError(
                f"The server {self.url} has no adapter {language!r}. It has: {', '.join(sorted(self._served)) or 'none'}. "
                "Start it with the serve.sh that `retrieveall export vllm` writes."
            )

    def _models(self) -> set[str]:
        listed = self._ask(lambda: self._client.get("/models", cast_to=object))
        try:
            return {str(served["id"]) for served in listed["data"]}
        except (LookupError, TypeError) as error:
            raise ServerError(
                f"{self.url} returned {str(listed)[:99]!r} as its list of models. Give the address of the server, with /v1."
            ) from error

    def decode(self, sentences: Sequence[PreparedSentence], batch_size: int, on_progress: Callable[[int], None]) -> list[Answer]:
        """Decodes sentences; see :meth:`DecodingBackend.decode`.

        Raises:
            ServerError: A request fails, or the grammar does not accept its output.
        """
        bodies = [request_body(self._characters, sentence) for sentence in sentences]
        answers = []
        with ThreadPoolExecutor(batch_size) as pool:
            for sentence, completion in zip(sentences, pool.map(self._complete, bodies), strict=True):
                answers.append(self._parse(sentence, completion))
                on_progress(1)
        return answers

    def _complete(self, body: dict[str, Any]) -> Any:
        return self._ask(lambda: self._client.post("/completions", cast_to=object, body=body))

    def _parse(self, sentence: PreparedSentence, completion: Any) -> Answer:
        window = sentence.window
        try:
            choice = completion["choices"][0]
            tokens, log_probabilities = choice["token_ids"], choice["logprobs"]["token_logprobs"]
            return parse_answer(self._characters, window.sentence, sentence.labels, tokens, log_probabilities)
        except (LookupError, TypeError, ValueError) as error:
            raise ServerError(
                f"The server {self.url} returned {str(completion)[:99]} for {window.text[:80]!r}, which is not a valid output: "
                f"{error} The server must support `structured_outputs` and `return_token_ids`, as vLLM does."
            ) from error

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except APIError as error:
            raise ServerError(
                f"The request to the server {self.url} failed: {error} Check that it runs and that the address ends with /v1."
            ) from error
