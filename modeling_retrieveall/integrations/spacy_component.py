"""A spaCy component that finds entities in many languages.

>>> nlp = spacy.blank("xx")
>>> nlp.add_pipe("retrieveall", config={"model": "shipped", "languages": ["de", "ru"]})
>>> [(ent.text, ent.label_, ent._.score) for ent in nlp("Angela Merkel besuchte Nairobi.").ents]
[('Angela Merkel', 'PER', 0.99), ('Nairobi', 'LOC', 1.0)]

spaCy finds the component by its entry point, so that nothing needs to be imported.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import filter_spans, minibatch

from ..model.base_llm import native_dtype
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.outputs import Extraction
from ..model.router import Route
from .spacy_tokens import split_tokens

DEFAULTS = {
    "model": "shipped",
    "revision": None,
    "languages": None,
    "threshold": 0.0,
    "batch_size": 16,
    "device": "cpu",
    "overwrite_ents": False,
    "split_tokens": True,
}
_BATCHES_AT_A_TIME = 8
_ROUTING = "retrieveall"
"""The extension of a document that holds plain values, as spaCy cannot serialize objects of other libraries."""


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
    """Registers ``doc._.route``, ``doc._.languages`` and ``span._.score``, unless there are extensions of these names.

    Importing this module does it; documents that were read from a file need no component.
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
    threshold: float,
    batch_size: int,
    device: str,
    overwrite_ents: bool,
    split_tokens: bool,
) -> "RetrieveAllComponent":
    """Makes the component from its configuration, which is all that a saved pipeline keeps of it.

    Args:
        nlp: The pipeline.
        name: The name of the component, which is also the key of its span group.
        model: As for :meth:`RetrieveAllModel.from_pretrained`.
        revision: Branch, tag or commit hash of the model's repository.
        languages: Load these languages only.
        threshold: Entities of a lower score are left out.
        batch_size: Sentences decoded together.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        overwrite_ents: As for :class:`RetrieveAllComponent`.
        split_tokens: As for :class:`RetrieveAllComponent`.
    """
    loaded = RetrieveAllModel.from_pretrained(
        model, revision=revision, languages=languages, dtype=native_dtype(device), device_map={"": device}
    )
    return RetrieveAllComponent(loaded, threshold, batch_size, name, overwrite_ents, split_tokens)


class RetrieveAllComponent:
    """Sets ``doc.ents``, ``doc.spans[name]`` and the routes of a document.

    The span group has all entities that were found. ``doc._.route`` is the route of the text, ``doc._.languages`` the start, end
    and language of each sentence, and ``span._.score`` the score of an entity.

    Args:
        model: The model.
        threshold: Entities of a lower score are left out.
        batch_size: Sentences decoded together.
        name: The key of the span group.
        overwrite_ents: Whether an entity takes the place of those of earlier components that it overlaps. Otherwise these stay,
            and the entity is in the span group alone.
        split_tokens: Whether a token is split where an entity begins or ends inside of it. Otherwise the entity is widened to
            whole tokens, with a warning.
    """

    def __init__(
        self,
        model: RetrieveAllModel,
        threshold: float,
        batch_size: int,
        name: str = "retrieveall",
        overwrite_ents: bool = False,
        split_tokens: bool = True,
    ) -> None:
        self.model = model
        self.threshold = threshold
        self.batch_size = batch_size
        self.name = name
        self.overwrite_ents = overwrite_ents
        self.split_tokens = split_tokens

    def __call__(self, doc: Doc) -> Doc:
        """Sets the entities of one document."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], batch_size: int = 1) -> Iterator[Doc]:
        """Sets the entities of a stream of documents, some batches at a time, in order."""
        for docs in minibatch(stream, max(batch_size, _BATCHES_AT_A_TIME * self.batch_size)):
            results = self.model.extract([doc.text for doc in docs], batch_size=self.batch_size, threshold=self.threshold)
            widened = sum(self._annotate(doc, result) for doc, result in zip(docs, results, strict=True))
            if widened:
                count = sum(len(result.entities) for result in results)
                warnings.warn(
                    f"{widened} of {count} entities begin or end inside a token and were widened to whole tokens. Set "
                    "split_tokens to true to get them as they are.",
                    stacklevel=2,
                )
            yield from docs

    def _annotate(self, doc: Doc, result: Extraction) -> int:
        """Writes a result into a document; returns how many entities are wider than they were found."""
        if self.split_tokens:
            split_tokens(doc, (border for entity in result.entities for border in (entity.start, entity.end)))
        earlier: list[Span] = list(doc.ents)
        found: list[Span] = []
        for entity in result.entities:
            span = cast(Span, doc.char_span(entity.start, entity.end, label=entity.label, alignment_mode="expand"))
            span._.score = entity.score
            found.append(span)
        doc.spans[self.name] = found
        # Two entities of one token can both be in the group; of these doc.ents has the longer.
        ours = filter_spans(found)
        doc.set_ents(_joined(ours, earlier) if self.overwrite_ents else _joined(earlier, ours))
        sentences = [[sentence.start, sentence.end, sentence.route.language] for sentence in result.sentences]
        route = asdict(result.route)
        plain_route = {**route, "adapters": list(route["adapters"]), "weights": list(route["weights"])}
        doc._.set(_ROUTING, {"route": plain_route, "languages": sentences})
        return sum(span.text != entity.text for span, entity in zip(found, result.entities, strict=True))

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        """Writes nothing: the configuration says where the model is."""

    def from_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Reads nothing: the configuration has said where the model is."""
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Returns nothing, as :meth:`to_disk` writes nothing."""
        return b""

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "RetrieveAllComponent":
        """Reads nothing, as :meth:`from_disk`."""
        return self


def _joined(preferred: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The preferred spans, and those of the others that do not overlap with them."""
    taken = {i for span in preferred for i in range(span.start, span.end)}
    return [*preferred, *(span for span in others if taken.isdisjoint(range(span.start, span.end)))]
