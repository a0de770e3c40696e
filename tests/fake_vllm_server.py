"""A stand-in for the vLLM server on a CPU, which decodes one request at a time.

The base LLM and the adapters run in transformers and PEFT. llguidance, one of vLLM's backends, enforces the grammar.

>>> with FakeVLLMServer(base, {"de": "served/adapters/de"}).running() as url:
...     VLLMBackend(url, model.answers)

``python -m tests.fake_vllm_server serve base --enable-lora --lora-modules de=adapters/de --port 8000`` starts it as a process.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import llguidance.hf
import llguidance.torch
import torch
import uvicorn
from llguidance import LLMatcher, grammar_from
from peft import PeftModel
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import AutoModelForCausalLM, AutoTokenizer

FIELDS = {
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "stop",
    "include_stop_str_in_output",
    "logprobs",
    "return_token_ids",
    "structured_outputs",
}


class Rejected(Exception):
    """A request that vLLM would reject. The arguments are the HTTP status and the message."""


class FakeVLLMServer:
    """A server of one base LLM and its adapters.

    Attributes:
        requests: The bodies of all requests so far.
        most_concurrent: The highest number of concurrent requests.
    """

    def __init__(self, base: str | Path, adapters: Mapping[str, str | Path], dtype: torch.dtype = torch.float32) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self._grammars = llguidance.hf.from_tokenizer(self.tokenizer)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        for name, folder in adapters.items():
            if isinstance(model, PeftModel):
                model.load_adapter(folder, adapter_name=name, autocast_adapter_dtype=False)
            else:
                model = PeftModel.from_pretrained(model, folder, adapter_name=name, autocast_adapter_dtype=False)
        self.adapters = set(adapters)
        self.requests: list[dict[str, Any]] = []
        self.most_concurrent = 0
        self._model = model.eval()
        self._in_flight = 0
        self._lock, self._count = Lock(), Lock()

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response of ``/v1/completions``."""
        matcher = self._checked(body)
        self._model.set_adapter(body["model"])
        mask = llguidance.torch.allocate_token_bitmask(1, self._grammars.vocab_size)
        tokens, log_probabilities, cache, text, reason = [], [], None, "", "length"
        ids = torch.tensor([body["prompt"]])
        while len(tokens) < body["max_tokens"] and reason == "length":
            output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, logits = output.past_key_values, output.logits[:, -1].float()
            llguidance.torch.fill_next_token_bitmask(matcher, mask, 0)
            llguidance.torch.apply_token_bitmask_inplace(logits, mask)
            token = int(logits[0].argmax())
            matcher.consume_token(token)
            tokens.append(token)
            log_probabilities.append(float(logits[0].log_softmax(0)[token]))
            text = self.tokenizer.decode(tokens)
            reason = "stop" if any(stop in text for stop in body["stop"]) else "length"
            ids = torch.tensor([[token]])
        choice = {"index": 0, "text": text, "finish_reason": reason, "token_ids": tokens}
        return {"object": "text_completion", "choices": [{**choice, "logprobs": {"token_logprobs": log_probabilities}}]}

    def _checked(self, body: dict[str, Any]) -> LLMatcher:
        if unknown := body.keys() - FIELDS:
            raise Rejected(400, f"unknown: {unknown}")
        if body["model"] not in self.adapters:
            raise Rejected(404, f"The model `{body['model']}` does not exist.")
        if body["temperature"] != 0 or not body["include_stop_str_in_output"] or not body["return_token_ids"]:
            raise Rejected(400, "The stand-in supports only greedy decoding with stop string and token ids.")
        matcher = LLMatcher(self._grammars, grammar_from("grammar", body["structured_outputs"]["grammar"]))
        if matcher.get_error():
            raise Rejected(400, f"Grammar error: {matcher.get_error()}")
        return matcher

    def application(self) -> Starlette:
        """The ASGI application."""

        def models(request: Request) -> JSONResponse:
            return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in sorted(self.adapters)]})

        async def completions(request: Request) -> JSONResponse:
            body = await request.json()
            return await run_in_threadpool(answer, body)

        def answer(body: dict[str, Any]) -> JSONResponse:
            with self._count:
                self.requests.append(body)
                self._in_flight += 1
                self.most_concurrent = max(self.most_concurrent, self._in_flight)
            try:
                with self._lock:
                    return JSONResponse(self.complete(body))
            except Rejected as rejected:
                status, message = rejected.args
                return JSONResponse({"error": {"message": message, "code": status}}, status)
            finally:
                with self._count:
                    self._in_flight -= 1

        return Starlette(routes=[Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])])

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Runs the server in a thread during the ``with`` block. Yields its URL."""
        server = uvicorn.Server(uvicorn.Config(self.application(), port=port, ws="none", lifespan="off", log_level="critical"))
        thread = Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
        server.should_exit = True
        thread.join()


def main() -> None:
    """Parses the command line of the launch script. Any other option is an error."""
    parser = argparse.ArgumentParser(prog="vllm")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("base")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--generation-config", choices=["vllm"])
    parser.add_argument("--logprobs-mode", choices=["processed_logprobs"])
    parser.add_argument("--structured-outputs-config.backend", choices=["guidance"])
    parser.add_argument("--enable-lora", action="store_true", required=True)
    parser.add_argument("--max-lora-rank", type=int, choices=[1, 8, 16, 32, 64, 128, 256, 320, 512])
    parser.add_argument("--max-loras", type=int)
    parser.add_argument("--max-cpu-loras", type=int)
    parser.add_argument("--lora-modules", nargs="+")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    adapters = dict(module.split("=") for module in options.lora_modules)
    stand_in = FakeVLLMServer(options.base, adapters, getattr(torch, options.dtype))
    uvicorn.run(stand_in.application(), port=options.port, log_level="critical")


if __name__ == "__main__":
    main()
