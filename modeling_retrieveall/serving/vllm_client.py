"""Answers from vLLM: routing, retrieval and prompts here, without a GPU; the LLM and its adapters on a server.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.answer_with(VLLMAnswerer("http://localhost:8000/v1", model.answers))
>>> model.extract("Angela Merkel besuchte Nairobi.")[0][0]
Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99)

The server is started by the ``serve.sh`` of ``retrieveall export vllm``. Here the base LLM only encodes, with its layers up to
``encoder_layer``, and no LoRA weights are read. What differs from answers of our own: the server may choose other tokens for the
same characters, and its scores share the probability out among those tokens as well; of a sentence with several adapters in its
row of M, the heaviest answers alone. vLLM itself was not run; see :mod:`vllm_export`.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import APIError, OpenAI

from ..model.answer_format import AnswerFormat
from ..model.documents import Window
from ..model.errors import ServerError
from ..model.prompting import Decoding
from .ebnf_grammar import SpelledFormat, read_answer
from .vllm_export import request_body


class VLLMAnswerer:
    """Answers windows by a server of vLLM, as many at a time as ``batch_size`` says; give it a larger one than for a CPU.

    Args:
        url: The server's address, with ``/v1``.
        answers: The answer format over the tokenizer of the base LLM that it serves.
        api_key: What ``vllm serve --api-key`` was given.

    Examples:
        >>> model.answer_with(VLLMAnswerer("http://localhost:8000/v1", model.answers))
        >>> model.extract(texts, batch_size=64)
    """

    def __init__(self, url: str, answers: AnswerFormat, api_key: str = "none") -> None:
        self.decodings: Sequence[Decoding] = ("generation",)
        self.url = url
        self._client = OpenAI(base_url=url, api_key=api_key)
        self._spelled = SpelledFormat(answers)
        self._served: set[str] = set()

    def drop_unusable(self, languages: Iterable[str], strict: bool) -> set[str]:
        """Makes sure that the server has the adapters of languages; none is removed.

        Raises:
            ServerError: It has not, or cannot be asked.
        """
        needed = set(languages)
        if not needed <= self._served:
            self._served = self._models()
        if missing := sorted(needed - self._served):
            raise ServerError(
                f"{self.url} has no adapter {', '.join(map(repr, missing))}, only {', '.join(sorted(self._served)) or 'none'}. "
                "Start it with the serve.sh of `retrieveall export vllm`."
            )
        return set()

    def _models(self) -> set[str]:
        listed = self._ask(lambda: self._client.get("/models", cast_to=object))
        try:
            return {str(served["id"]) for served in listed["data"]}
        except (LookupError, TypeError) as error:
            raise ServerError(f"{self.url} answered {str(listed)[:99]!r} for its models. Is it the server's /v1?") from error

    def answer(self, windows: list[Window], batch_size: int, done: Callable[[list[Window]], None]) -> None:
        """Sets the answer of each window.

        Raises:
            ServerError: A request fails, or its answer is not one of the grammar's.
        """
        bodies = [request_body(self._spelled, window) for window in windows]
        with ThreadPoolExecutor(batch_size) as pool:
            for window, completion in zip(windows, pool.map(self._complete, bodies), strict=True):
                self._read(window, completion)
                done([window])

    def _complete(self, body: dict[str, Any]) -> Any:
        return self._ask(lambda: self._client.post("/completions", cast_to=object, body=body))

    def _read(self, window: Window, completion: Any) -> None:
        try:
            choice = completion["choices"][0]
            tokens, log_probabilities = choice["token_ids"], choice["logprobs"]["token_logprobs"]
            window.answer = read_answer(self._spelled, window.sentence, window.labels, tokens, log_probabilities)
        except (LookupError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self.url} answered {str(completion)[:99]} for {window.text[:80]!r}, which its grammar does not admit: {error} "
                "Does the server know `structured_outputs` and `return_token_ids`, as vLLM does?"
            ) from error

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except APIError as error:
            raise ServerError(f"{self.url} did not do as asked: {error} Give the address of the server, with /v1.") from error
