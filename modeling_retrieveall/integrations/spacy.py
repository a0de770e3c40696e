"""A component of spaCy: entities of many languages in ``doc.ents``.

>>> nlp = spacy.blank("xx")
>>> nlp.add_pipe("retrieveall", config={"model": "shipped", "languages": ["de", "ru"]})
>>> [(ent.text, ent.label_, ent._.score) for ent in nlp("Angela Merkel besuchte Nairobi.").ents]
[('Angela Merkel', 'PER', 0.99), ('Nairobi', 'LOC', 1.0)]

spaCy finds it by its entry point; nothing need be imported.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import filter_spans, minibatch

from ..base_llm import native_dtype
from ..modeling_retrieveall import RetrieveAllModel
from ..outputs import Extraction

DEFAULTS = {"model": "shipped", "revision": None, "languages": None, "threshold": 0.0, "batch_size": 16, "device": "cpu"}
_BATCHES_AT_A_TIME = 8


@Language.factory("retrieveall", default_config=DEFAULTS, assigns=["doc.ents", "doc._.route", "doc._.languages", "span._.score"])
def make_component(
    nlp: Language,
    name: str,
    model: str,
    revision: str | None,
    languages: list[str] | None,
    threshold: float,
    batch_size: int,
    device: str,
) -> "RetrieveAllComponent":
    """Makes the component from its configuration, which is all that a saved pipeline keeps of it.

    Args:
        nlp: The pipeline.
        name: Name of the component in it.
        model: As for :meth:`RetrieveAllModel.from_pretrained`.
        revision: Branch, tag or commit hash of the model's repository.
        languages: Load these languages only.
        threshold: Entities of a lower score are left out.
        batch_size: Sentences decoded together.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    """
    loaded = RetrieveAllModel.from_pretrained(
        model, revision=revision, languages=languages, dtype=native_dtype(device), device_map={"": device}
    )
    return RetrieveAllComponent(loaded, threshold, batch_size)


class RetrieveAllComponent:
    """Sets ``doc.ents``, the route of the text in ``doc._.route`` and of each sentence in ``doc._.languages``.

    An entity that ends amid a token of the pipeline takes all of the token.

    Args:
        model: The model.
        threshold: Entities of a lower score are left out.
        batch_size: Sentences decoded together.
    """

    def __init__(self, model: RetrieveAllModel, threshold: float, batch_size: int) -> None:
        self.model = model
        self.threshold = threshold
        self.batch_size = batch_size
        for owner, extension in ((Doc, "route"), (Doc, "languages"), (Span, "score")):
            if not owner.has_extension(extension):
                owner.set_extension(extension, default=None)

    def __call__(self, doc: Doc) -> Doc:
        """Sets the entities of one document."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], batch_size: int = 1) -> Iterator[Doc]:
        """Sets the entities of a stream of documents, some batches at a time, in order."""
        for docs in minibatch(stream, max(batch_size, _BATCHES_AT_A_TIME * self.batch_size)):
            results = self.model.explain([doc.text for doc in docs], batch_size=self.batch_size, threshold=self.threshold)
            for doc, result in zip(docs, results, strict=True):
                _annotate(doc, result)
                yield doc

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        """Nothing: the configuration says where the model is."""

    def from_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Nothing: the configuration has said where the model is."""
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Nothing, as :meth:`to_disk`."""
        return b""

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Nothing, as :meth:`from_disk`."""
        return self


def _annotate(doc: Doc, result: Extraction) -> None:
    spans = []
    for entity in result.entities:
        span = doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand")
        if span is not None:
            span._.score = entity.score
            spans.append(span)
    # Two entities of one token: spaCy's can hold only the longer.
    doc.set_ents(filter_spans(spans))
    doc._.route = result.route
    doc._.languages = [(sentence.start, sentence.end, sentence.route.language) for sentence in result.sentences]
