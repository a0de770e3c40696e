"""The transformers pipeline: texts in, grouped entities out, as those of token classification, with their language.

>>> extractor = pipeline("retrieveall-ner", model="someone/retrieveall-panx", trust_remote_code=True)
>>> extractor("Angela Merkel besuchte Nairobi.")
[{'entity_group': 'PER', 'score': 0.99, 'word': 'Angela Merkel', 'start': 0, 'end': 13, 'language': 'de'}, ...]
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from transformers import Pipeline

from .errors import InputTypeError

if TYPE_CHECKING:
    from .modeling_retrieveall import RetrieveAllModel

_TASKS = ("retrieveall-ner", "token-classification", "ner")  # the Hub's own example of use names the second one
CUSTOM_PIPELINES = {task: {"impl": f"{__name__.rpartition('.')[2]}.RetrieveAllPipeline", "pt": ["AutoModel"]} for task in _TASKS}
"""What a model's config.json says of it: the tasks by whose names ``pipeline`` finds it."""

_BATCHES_AT_A_TIME = 16
"""Texts are sorted by length within so many batches, which saves padding; a stream is that far ahead of its results."""

Group = dict[str, Any]


class RetrieveAllPipeline(Pipeline):
    """Named entity recognition as a pipeline.

    Args to the pipeline and to each call: ``languages`` (of all texts), ``prior``, ``threshold`` and ``batch_size``, as of
    :meth:`RetrieveAllModel.extract`.
    """

    model: "RetrieveAllModel"
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]  # the model has its own

    def __call__(  # type: ignore[override]
        self, inputs: str | Iterable[str], **arguments: Any
    ) -> list[Group] | list[list[Group]] | Iterator[list[Group]]:
        """Extracts entities.

        Args:
            inputs: A text; a list of texts; or an iterator, generator or dataset of texts.
            **arguments: Instead of those given to the pipeline.

        Returns:
            Groups of one text; a list of them for a list; an iterator for all else, which reads its input as it goes.
        """
        settings = {**self._forward_params, **self._sanitize_parameters(**arguments)[1]}
        if isinstance(inputs, str):
            return next(self._stream([inputs], settings))
        results = self._stream(inputs, settings)
        return list(results) if isinstance(inputs, list | tuple) else results

    def _stream(self, texts: Iterable[str], settings: dict[str, Any]) -> Iterator[list[Group]]:
        waiting = iter(texts)
        size = settings.get("batch_size") or self._batch_size or self.model.config.batch_size
        while part := list(islice(waiting, _BATCHES_AT_A_TIME * size)):
            yield from (self.postprocess(result) for result in self._forward(part, **{**settings, "batch_size": size}))

    def _sanitize_parameters(self, **parameters: Any) -> tuple[Group, Group, Group]:
        ours = {"languages", "prior", "threshold", "batch_size"}
        if strange := sorted(parameters.keys() - ours):
            raise InputTypeError(f"The pipeline got {', '.join(strange)}; it takes {', '.join(sorted(ours))}.")
        return {}, parameters, {}

    def preprocess(self, input_: Any, **_: Any) -> Any:
        """Nothing: the model reads texts."""
        return input_

    def _forward(self, input_tensors: Any, **settings: Any) -> Any:
        return self.model.explain(input_tensors, **settings)

    def postprocess(self, model_outputs: Any, **_: Any) -> list[Group]:
        """The groups of one text's result."""
        sentences = model_outputs.sentences
        starts = [sentence.start for sentence in sentences]
        return [
            {
                "entity_group": entity.label,
                "score": entity.score,
                "word": entity.text,
                "start": entity.start,
                "end": entity.end,
                "language": sentences[bisect_right(starts, entity.start) - 1].route.language,
            }
            for entity in model_outputs.entities
        ]
