"""The transformers pipeline: texts in, grouped entities out, as those of token classification, with their language.

>>> extractor = pipeline("retrieveall-ner", model="someone/retrieveall-panx", trust_remote_code=True)
>>> extractor("Angela Merkel besuchte Nairobi.")
[{'entity_group': 'PER', 'score': 0.99, 'word': 'Angela Merkel', 'start': 0, 'end': 13, 'language': 'de'}, ...]
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .errors import InputError, InputTypeError

if TYPE_CHECKING:
    from .modeling_retrieveall import RetrieveAllModel

_TASK = {"impl": f"{__name__.rpartition('.')[2]}.RetrieveAllPipeline", "pt": ["AutoModel"]}
CUSTOM_PIPELINES = {name: _TASK for name in ("retrieveall-ner", "ner", "token-classification")}
"""What a model's config.json says of it: the names of the task, of which transformers has the last two as well."""

_BATCHES_AT_A_TIME = 16
"""Texts are sorted by length within so many batches, which saves padding; a stream is that far ahead of its results."""
_SETTINGS = {"languages", "prior", "threshold", "batch_size"}
_GROUPING_STRATEGIES = ("simple", "first", "average", "max")
# Of token classification, and of no consequence here: words are never cut, long texts are read in overlapping windows, and
# there is no DataLoader.
_WITHOUT_EFFECT = {"ignore_subwords", "stride", "num_workers"}

Group = dict[str, Any]
Text = str | Sequence[str]


class RetrieveAllPipeline(Pipeline):
    """Named entity recognition as a pipeline.

    The pipeline and each call take ``languages`` (of all texts), ``prior``, ``threshold`` and ``batch_size``, as of
    :meth:`RetrieveAllModel.extract`, and the arguments of transformers' token classification:

    - ``aggregation_strategy``: ``"simple"``, ``"first"``, ``"average"`` and ``"max"`` give the same groups, as no word is cut
      into pieces; ``"none"`` is refused, as there are no labels of single tokens. ``grouped_entities=True`` means the same.
    - ``ignore_labels``: entities of these types are left out.
    - ``is_split_into_words``: each text is a list of words; offsets are into ``" ".join(words)``.
    - ``stride`` has no effect, as texts of any length are read whole.
    """

    model: "RetrieveAllModel"
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]  # the model has its own

    def __call__(  # type: ignore[override]
        self, inputs: Text | Iterable[Text], **arguments: Any
    ) -> list[Group] | list[list[Group]] | Iterator[list[Group]]:
        """Extracts entities.

        Args:
            inputs: A text; a list of texts; or an iterator, generator or dataset of texts.
            **arguments: Instead of those given to the pipeline.

        Returns:
            Groups of one text; a list of them for a list; an iterator for all else, which reads its input as it goes.
        """
        preprocess, forward, postprocess = self._sanitize_parameters(**arguments)
        forward = {**self._preprocess_params, **self._forward_params, **preprocess, **forward}
        postprocess = {**self._postprocess_params, **postprocess}
        if forward.get("is_split_into_words"):
            if isinstance(inputs, list | tuple) and not all(isinstance(words, list | tuple) for words in inputs):
                inputs = [inputs]
        elif isinstance(inputs, str):
            return next(self._stream([inputs], forward, postprocess))
        results = self._stream(inputs, forward, postprocess)
        return list(results) if isinstance(inputs, list | tuple) else results

    def _stream(self, texts: Iterable[Text], forward: Group, postprocess: Group) -> Iterator[list[Group]]:
        waiting = iter(texts)
        size = forward.get("batch_size") or self._batch_size or self.model.config.batch_size
        while part := list(islice(waiting, _BATCHES_AT_A_TIME * size)):
            results = self._forward(part, **{**forward, "batch_size": size})
            yield from (self.postprocess(result, **postprocess) for result in results)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[Group, Group, Group]:
        _check_grouping(parameters.pop("aggregation_strategy", None), parameters.pop("grouped_entities", None))
        if (delimiter := parameters.pop("delimiter", None)) not in (None, " "):
            raise InputError(f"delimiter is {delimiter!r}; words are joined by blanks here. Leave it out.")
        preprocess = {name: parameters.pop(name) for name in ("is_split_into_words",) if name in parameters}
        postprocess = {name: parameters.pop(name) for name in ("ignore_labels",) if name in parameters}
        forward = {name: value for name, value in parameters.items() if name not in _WITHOUT_EFFECT}
        if strange := sorted(forward.keys() - _SETTINGS):
            known = sorted({*_SETTINGS, "aggregation_strategy", "ignore_labels", "is_split_into_words"})
            raise InputTypeError(f"The pipeline got {', '.join(strange)}; it takes {', '.join(known)}.")
        return preprocess, forward, postprocess

    def preprocess(self, input_: Any, **_: Any) -> Any:
        """Nothing: the model reads texts."""
        return input_

    def _forward(  # type: ignore[override]
        self, input_tensors: Any, is_split_into_words: bool = False, **settings: Any
    ) -> Any:
        return self.model.explain(**{"words" if is_split_into_words else "texts": input_tensors}, **settings)

    def postprocess(self, model_outputs: Any, ignore_labels: Collection[str] | None = None, **_: Any) -> list[Group]:
        """The groups of one text's result."""
        ignored = {ignore_labels} if isinstance(ignore_labels, str) else set(ignore_labels or ())
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
            if entity.label not in ignored
        ]


def _check_grouping(strategy: Any, grouped: bool | None) -> None:
    """Refuses what would not give whole entities.

    Args:
        strategy: A string, or a member of transformers' ``AggregationStrategy``.
        grouped: The older argument of the same meaning.
    """
    name = getattr(strategy, "value", strategy)
    if name == "none" or grouped is False:
        raise InputError(
            "Labels of single tokens are asked for (aggregation_strategy='none' or grouped_entities=False), but the model finds "
            "whole entities. Leave it out, or give aggregation_strategy='simple'."
        )
    if name is not None and name not in _GROUPING_STRATEGIES:
        raise InputError(f"aggregation_strategy is {strategy!r}; give one of {', '.join(map(repr, _GROUPING_STRATEGIES))}.")


# For pipeline("retrieveall-ner", model=model); for a folder or a repository its configuration says the same.
if "retrieveall-ner" not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline("retrieveall-ner", RetrieveAllPipeline, pt_model=AutoModel)
