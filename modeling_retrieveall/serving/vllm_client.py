"""Answers from vLLM: routing, retrieval and prompts here, without a GPU; the LLM and its adapters on a server.

>>> model = RetrieveAllModel.from_pretrained("shipped")
>>> model.use_server("http://localhost:8000/v1")
>>> model.extract("Angela Merkel besuchte Nairobi.").entities[0]
Entity(text='Angela Merkel', label='PER', start=0, end=13, score=0.99)

The server is started by the ``serve.sh`` of ``retrieveall export vllm``. Here the base LLM only encodes, with its layers up to
``encoder_layer``, and no LoRA weights are read. What differs from answers of our own: the server may choose other tokens for the
same characters, and its scores share the probability out among those tokens as well; of a sentence with several adapters in its
row of M, the heaviest answers alone. vLLM itself was not run; see :mod:`vllm_export`.
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
from .ebnf_grammar import SpelledFormat, read_answer
from .vllm_export import request_body


class VLLMBackend:
    """Answers windows by a server of vLLM, as many at a time as ``batch_size`` says; give it a larger one than for a CPU.

    Args:
        url: The server's address, with ``/v1``.
        answers: The answer format over the tokenizer of the base LLM that it serves.
        api_key: What ``vllm serve --api-key`` was given.

    Examples:
        >>> model.use_server("http://localhost:8000/v1")
        >>> model.extract(texts, batch_size=64)
    """

    def __init__(self, url: str, answers: AnswerFormat, api_key: str = "none") -> None:
        self.decodings: Sequence[Decoding] = ("generation",)
        self.url = url
        self._client = OpenAI(base_url=url, api_key=api_key)
        self._spelled = SpelledFormat(answers)
        self._served: set[str] = set()

    def load_adapter(self, language: str) -> None:
        """Checks that the server has the adapter of a language.

        Raises:
            ServerError: It does not have it, or cannot be reached.
        """
        if language not in self._served:
            self._served = self._models()
        if language not in self._served:
            raise ServerError(
                f"{self.url} has no adapter {language!r}, only {', '.join(sorted(self._served)) or 'none'}. "
                "Start it with the serve.sh of `retrieveall export vllm`."
            )

    def _models(self) -> set[str]:
        listed = self._ask(lambda: self._client.get("/models", cast_to=object))
        try:
            return {str(served["id"]) for served in listed["data"]}
        except (LookupError, TypeError) as error:
            raise ServerError(f"{self.url} answered {str(listed)[:99]!r} for its models. Is it the server's /v1?") from error

    def decode(self, sentences: Sequence[PreparedSentence], batch_size: int, on_progress: Callable[[int], None]) -> list[Answer]:
        """Decodes sentences; see :meth:`DecodingBackend.decode`.

        Raises:
            ServerError: A request fails, or the grammar does not allow its answer.
        """
        bodies = [request_body(self._spelled, sentence) for sentence in sentences]
        answers = []
        with ThreadPoolExecutor(batch_size) as pool:
            for sentence, completion in zip(sentences, pool.map(self._complete, bodies), strict=True):
                answers.append(self._read(sentence, completion))
                on_progress(1)
        return answers

    def _complete(self, body: dict[str, Any]) -> Any:
        return self._ask(lambda: self._client.post("/completions", cast_to=object, body=body))

    def _read(self, sentence: PreparedSentence, completion: Any) -> Answer:
        try:
            choice = completion["choices"][0]
            tokens, log_probabilities = choice["token_ids"], choice["logprobs"]["token_logprobs"]
            return read_answer(self._spelled, sentence.window.sentence, sentence.labels, tokens, log_probabilities)
        except (LookupError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self.url} answered {str(completion)[:99]} for {sentence.window.text[:80]!r}, which its grammar does not "
                f"allow: {error} Does the server support `structured_outputs` and `return_token_ids`, as vLLM does?"
            ) from error

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except APIError as error:
            raise ServerError(f"{self.url} did not do as asked: {error} Give the address of the server, with /v1.") from error
