"""The labelled examples of an adapter on disk: a parquet file with one sentence per row.

examples.parquet
  tokens   list of strings                      the words of the sentence
  spans    list of {start, end, label}          its entities; start and end count words, end is exclusive
  glued    list of booleans                     for each word, whether no space separates it from the word before

>>> len(read_examples(Path("adapter_cards/de") / EXAMPLES, ["LOC", "ORG", "PER"]))
466
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .entities import Example, Sentence, Span
from .untrusted_files import read_example_rows

EXAMPLES = "examples.parquet"


def read_examples(file: Path, labels: Sequence[str]) -> list[Example]:
    """Reads and checks labelled examples.

    Args:
        file: The parquet file.
        labels: The labels that may occur.

    Raises:
        ValueError: A span lies outside its sentence or overlaps with another one, a label is unknown, or the table is too large.
        TypeError: A value has the wrong type.
    """
    examples = []
    for row in read_example_rows(file):
        spans = tuple(Span(span["start"], span["end"], span["label"]) for span in row["spans"])
        if not isinstance(row["tokens"], list) or any(type(n) is not int for span in spans for n in span[:2]):
            raise TypeError("tokens must be a list of strings, and a span must start and end at a whole number")
        check_spans(spans, len(row["tokens"]))
        if unknown := {span.label for span in spans} - set(labels):
            raise ValueError(f"an example has the label {min(unknown, key=str)!r}, which is not one of {labels}")
        if (glued := row.get("glued")) is not None and len(glued) != len(row["tokens"]):
            raise ValueError(f"an example has {len(row['tokens'])} words, but {len(glued)} values in the column glued")
        examples.append(Example(Sentence.from_words(row["tokens"], glued), spans))
    return examples


def check_spans(spans: Sequence[Span], words: int) -> None:
    """Checks the entities of a sentence.

    Args:
        spans: The entities.
        words: Number of words of the sentence.

    Raises:
        ValueError: There are no words, an entity is empty or lies outside of the words, or two entities overlap.
    """
    if not words:
        raise ValueError("a sentence has no words")
    if any(not 0 <= span.start < span.end <= words for span in spans):
        raise ValueError(f"a span of {tuple(spans)} lies outside of its {words} words")
    if any(later.start < earlier.end for earlier, later in pairwise(sorted(spans, key=lambda span: span[:2]))):
        raise ValueError(f"spans of {tuple(spans)} overlap")


def write_examples(examples: Sequence[Example], file: Path) -> None:
    """Writes labelled examples."""
    span = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
    schema = pa.schema([("tokens", pa.list_(pa.string())), ("spans", pa.list_(span)), ("glued", pa.list_(pa.bool_()))])
    rows = [
        {
            "tokens": [word.text for word in example.sentence.words],
            "spans": [span._asdict() for span in example.spans],
            "glued": [word.glued for word in example.sentence.words],
        }
        for example in examples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
