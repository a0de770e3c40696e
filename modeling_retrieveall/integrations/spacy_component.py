"""A spaCy component that finds entities in many languages.

>>> nlp = spacy.blank("xx")
>>> nlp.add_pipe("retrieveall", config={"model": "shipped", "languages": ["de", "ru"]})
>>> [(ent.text, ent.label_, ent._.score) for ent in nlp("Angela Merkel besuchte Nairobi.").ents]
[('Angela Merkel', 'PER', 0.99), ('Nairobi', 'LOC', 1.0)]

spaCy finds the component by its entry point, so no import is needed.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import filter_spans, minibatch

from ..model.base_llm import native_dtype
from ..model.language_adapter import entity_types
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.outputs import Extraction
from ..model.router import Route
from .spacy_tokens import split_tokens

DEFAULTS = {
    "model": "shipped",
    "revision": None,
    "languages": None,
    "labels": None,
    "threshold": 0.0,
    "consistent_labels": False,
    "batch_size": 16,
    "device": "cpu",
    "overwrite_ents": False,
    "split_tokens": True,
}
_BATCHES_PER_CHUNK = 8
_ROUTING = "retrieveall"
"""The extension that stores the route and languages as plain values, because spaCy cannot serialise other objects."""


def _route(doc: Doc) -> Route | None:
    routing = doc._.get(_ROUTING)
    if routing is None:
        return None
    route = routing["route"]
    return Route(**{**route, "adapters": tuple(route["adapters"]), "weights": tuple(route["weights"])})


def _languages(doc: Doc) -> list[tuple[int, int, str]] | None:
    routing = doc._.get(_ROUTING)
    return routing and [(start, end, language) for start, end, language in routing["languages"]]


def register_extensions() -> None:
    """Registers ``doc._.route``, ``doc._.languages`` and ``span._.score``, unless extensions with these names exist.

    This happens when the module is imported, so documents that are read from a file do not need the component.
    """
    for owner, name, definition in (
        (Doc, _ROUTING, {"default": None}),
        (Doc, "route", {"getter": _route}),
        (Doc, "languages", {"getter": _languages}),
        (Span, "score", {"default": None}),
    ):
        if not owner.has_extension(name):
            owner.set_extension(name, **definition)


register_extensions()


@Language.factory(
    "retrieveall",
    default_config=DEFAULTS,
    assigns=["doc.ents", "doc.spans", "doc._.retrieveall", "span._.score"],
    retokenizes=True,
)
def make_component(
    nlp: Language,
    name: str,
    model: str,
    revision: str | None,
    languages: list[str] | None,
    labels: list[str] | None,
    threshold: float | dict[str, float],
    consistent_labels: bool,
    batch_size: int,
    device: str,
    overwrite_ents: bool,
    split_tokens: bool,
) -> "RetrieveAllComponent":
    """Makes the component from its configuration. A saved pipeline stores only the configuration.

    Args:
        nlp: The pipeline.
        name: The name of the component, which is also the key of its span group.
        model: The model; see :meth:`RetrieveAllModel.from_pretrained`.
        revision: Branch, tag or commit hash of the model's repository.
        languages: The languages to load; all by default.
        labels: The entity types to set; all by default.
        threshold: The minimum score of an entity, for all types or by type.
        consistent_labels: Whether a name gets the same type everywhere in a document; see :meth:`RetrieveAllModel.extract`.
        batch_size: Number of sentences decoded together.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        overwrite_ents: See :class:`RetrieveAllComponent`.
        split_tokens: See :class:`RetrieveAllComponent`.
    """
    loaded = RetrieveAllModel.from_pretrained(
        model, revision=revision, languages=languages, dtype=native_dtype(device), device_map={"": device}
    )
    return RetrieveAllComponent(loaded, threshold, batch_size, name, overwrite_ents, split_tokens, labels, consistent_labels)


class RetrieveAllComponent:
    """Sets ``doc.ents``, ``doc.spans[name]`` and the routes of a document.

    The span group contains all entities. ``doc._.route`` is the route of the text, ``doc._.languages`` the start, end
    and language of each sentence, and ``span._.score`` the score of an entity.

    Args:
        model: The model.
        threshold: The minimum score of an entity, for all types or by type.
        batch_size: Number of sentences decoded together.
        name: The key of the span group.
        overwrite_ents: Whether an entity replaces overlapping entities of earlier components. Otherwise those are kept, and the
            entity is only in the span group.
        split_tokens: Whether a token is split if an entity begins or ends inside it. Otherwise the entity is widened to whole
            tokens, with a warning.
        labels: The entity types to set; all by default.
        consistent_labels: Whether a name gets the same type everywhere in a document.
    """

    def __init__(
        self,
        model: RetrieveAllModel,
        threshold: float | dict[str, float],
        batch_size: int,
        name: str = "retrieveall",
        overwrite_ents: bool = False,
        split_tokens: bool = True,
        labels: list[str] | None = None,
        consistent_labels: bool = False,
    ) -> None:
        self.model = model
        self._labels = labels
        self.threshold = threshold
        self.consistent_labels = consistent_labels
        self.batch_size = batch_size
        self.name = name
        self.overwrite_ents = overwrite_ents
        self.split_tokens = split_tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """The entity types that the component sets, which spaCy writes into the metadata of the pipeline."""
        return tuple(entity_types(self.model.adapters.values()) if self._labels is None else sorted(self._labels))

    def __call__(self, doc: Doc) -> Doc:
        """Sets the entities of one document."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], batch_size: int = 1) -> Iterator[Doc]:
        """Sets the entities of a stream of documents, in order."""
        for docs in minibatch(stream, max(batch_size, _BATCHES_PER_CHUNK * self.batch_size)):
            texts = [doc.text for doc in docs]
            results = self.model.extract(
                texts,
                labels=self._labels,
                threshold=self.threshold,
                consistent_labels=self.consistent_labels,
                batch_size=self.batch_size,
            )
            widened = sum(self._annotate(doc, result) for doc, result in zip(docs, results, strict=True))
            if widened:
                count = sum(len(result.entities) for result in results)
                warnings.warn(
                    f"{widened} of {count} entities begin or end inside a token and were widened to whole tokens. Set "
                    "`split_tokens` to true to keep their exact borders.",
                    stacklevel=2,
                )
            yield from docs

    def _annotate(self, doc: Doc, result: Extraction) -> int:
        """Writes a result into a document. Returns the number of entities that were widened."""
        if self.split_tokens:
            split_tokens(doc, (border for entity in result.entities for border in (entity.start, entity.end)))
        earlier: list[Span] = list(doc.ents)
        found: list[Span] = []
        for entity in result.entities:
            span = cast(Span, doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand"))
            span._.score = entity.score
            found.append(span)
        doc.spans[self.name] = found
        # Two entities in one token can both be in the span group. doc.ents gets the longer one.
        ours = filter_spans(found)
        doc.set_ents(_merge_spans(ours, earlier) if self.overwrite_ents else _merge_spans(earlier, ours))
        sentences = [[sentence.start, sentence.end, sentence.route.language] for sentence in result.sentences]
        route = asdict(result.route)
        plain_route = {**route, "adapters": list(route["adapters"]), "weights": list(route["weights"])}
        doc._.set(_ROUTING, {"route": plain_route, "languages": sentences})
        return sum(span.text != entity.text for span, entity in zip(found, result.entities, strict=True))

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        """Writes nothing, because the configuration names the model."""

    def from_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Reads nothing, because the configuration names the model."""
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Returns empty bytes; see :meth:`to_disk`."""
        return b""

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Reads nothing; see :meth:`from_disk`."""
        return self


def _merge_spans(preferred: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The preferred spans, and the other spans that do not overlap with them."""
    taken = {i for span in preferred for i in range(span.start, span.end)}
    return [*preferred, *(span for span in others if taken.isdisjoint(range(span.start, span.end)))]
