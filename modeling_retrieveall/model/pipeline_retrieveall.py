"""The transformers pipeline. Its results are those of token classification with grouped entities, and their language.

>>> extractor = pipeline("retrieveall-ner", model="someone/retrieveall-panx", trust_remote_code=True)
>>> extractor("Angela Merkel besuchte Nairobi.")
[{'entity_group': 'PER', 'score': 0.99, 'word': 'Angela Merkel', 'start': 0, 'end': 13, 'language': 'de'}, ...]
"""

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
"""The entry of a model's config.json. The last two names are tasks of transformers, which this pipeline replaces."""

_BATCHES_AT_A_TIME = 16
"""Number of batches that are read ahead and sorted by length to reduce padding."""
_SETTINGS = {"language", "prior", "labels", "threshold", "consistent_labels", "batch_size"}
_GROUPING_STRATEGIES = ("simple", "first", "average", "max")
# Arguments of token classification without effect here: words are never cut, long texts are read in overlapping windows, and
# there is no DataLoader.
_WITHOUT_EFFECT = {"ignore_subwords", "stride", "num_workers"}

Group = dict[str, Any]
Text = str | Sequence[str]


class RetrieveAllPipeline(Pipeline):
    """Named entity recognition as a pipeline.

    The pipeline and each call take ``language`` (of all texts), ``prior``, ``labels``, ``threshold``, ``consistent_labels`` and
    ``batch_size`` of :meth:`RetrieveAllModel.extract`, and the arguments of transformers' token classification:

    - ``aggregation_strategy``: ``"simple"``, ``"first"``, ``"average"`` and ``"max"`` return the same groups, as no word is cut
      into pieces; ``"none"`` is refused, as single tokens have no labels. ``grouped_entities=True`` is the same as ``"simple"``.
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
            **arguments: Arguments that replace those of the pipeline.

        Returns:
            The groups of one text; a list of these for a list; otherwise an iterator, which reads its input lazily.
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
            raise InputError(f"delimiter is {delimiter!r}; words are always joined by spaces. Omit it.")
        preprocess = {name: parameters.pop(name) for name in ("is_split_into_words",) if name in parameters}
        postprocess = {name: parameters.pop(name) for name in ("ignore_labels",) if name in parameters}
        forward = {name: value for name, value in parameters.items() if name not in _WITHOUT_EFFECT}
        if strange := sorted(forward.keys() - _SETTINGS):
            known = sorted({*_SETTINGS, "aggregation_strategy", "ignore_labels", "is_split_into_words"})
            raise InputTypeError(f"The pipeline got {', '.join(strange)}; it takes {', '.join(known)}.")
        return preprocess, forward, postprocess

    def preprocess(self, input_: Any, **_: Any) -> Any:
        """Returns its input, as the model reads texts."""
        return input_

    def _forward(  # type: ignore[override]
        self, input_tensors: Any, is_split_into_words: bool = False, **settings: Any
    ) -> Any:
        return self.model.extract(list(input_tensors), is_split_into_words=is_split_into_words, **settings)

    def postprocess(self, model_outputs: Any, ignore_labels: Collection[str] | None = None, **_: Any) -> list[Group]:
        """The groups of one text's result."""
        ignored = {ignore_labels} if isinstance(ignore_labels, str) else set(ignore_labels or ())
        return [
            {
                "entity_group": entity.label,
                "score": entity.score,
                "word": entity.text,
                "start": entity.start,
                "end": entity.end,
                "language": model_outputs.sentence_of(entity).route.language,
            }
            for entity in model_outputs.entities
            if entity.label not in ignored
        ]


def _check_grouping(strategy: Any, grouped: bool | None) -> None:
    """Refuses strategies whose results are not whole entities.

    Args:
        strategy: A string, or a member of transformers' ``AggregationStrategy``.
        grouped: The older argument with the same meaning.
    """
    name = getattr(strategy, "value", strategy)
    if name == "none" or grouped is False:
        raise InputError(
            "aggregation_strategy='none' and grouped_entities=False ask for labels of single tokens, but the model finds whole "
            "entities. Omit the argument, or give aggregation_strategy='simple'."
        )
    if name is not None and name not in _GROUPING_STRATEGIES:
        raise InputError(f"aggregation_strategy is {strategy!r}; give one of {', '.join(map(repr, _GROUPING_STRATEGIES))}.")


# For pipeline("retrieveall-ner", model=model). The configuration of a folder or repository has its own entry.
if "retrieveall-ner" not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline("retrieveall-ner", RetrieveAllPipeline, pt_model=AutoModel)
