"""Labelled datasets are loaded from parquet and CoNLL files and from the Hub; unreadable ones raise helpful errors."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.labelled_data import LabelledData, exclude_by_key, sample_examples, summarize_repairs
from modeling_retrieveall.data.loading import has_split, load_examples
from modeling_retrieveall.data.reader_types import ColumnNames, DatasetError
from modeling_retrieveall.model.entities import Example, Span
from tests.conftest import SENTENCES, example

NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
TOKENS = [["Angela", "Merkel", "besuchte", "Nairobi", "."], ["Niemand", "kam"]]
TAGS = [["B-PER", "I-PER", "O", "B-LOC", "O"], ["O", "O"]]
SPANS = [(Span(0, 2, "PER"), Span(3, 4, "LOC")), ()]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what the datasets library caches out of the user's home."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def numbered(rows: list[list[str]]) -> list[list[int]]:
    return [[NAMES.index(tag) for tag in row] for row in rows]


def write_parquet(file: Path, tokens: list[list[str]], tags: list[list[Any]], tag_type: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    features = Features({"tokens": List(Value("string")), "ner_tags": List(tag_type)})
    Dataset.from_dict({"tokens": tokens, "ner_tags": tags}, features=features).to_parquet(str(file))
    return file


def write_named(file: Path, tokens: list[list[str]] = TOKENS, tags: list[list[str]] = TAGS) -> Path:
    return write_parquet(file, tokens, numbered(tags), ClassLabel(names=NAMES))


def write(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    return str(file)


def words_of(data: LabelledData) -> list[list[str]]:
    return [[word.text for word in e.sentence.words] for e in data.examples]


def assert_two_sentences(data: LabelledData) -> None:
    assert words_of(data) == TOKENS
    assert [e.spans for e in data.examples] == SPANS
    assert data.repairs == []


# Parquet


def test_class_labels_of_parquet_give_all_types(tmp_path: Path) -> None:
    data = load_examples(str(write_named(tmp_path / "train.parquet")), "train")
    assert_two_sentences(data)
    assert data.labels == ["LOC", "ORG", "PER"]


def test_text_tags_of_parquet_give_the_types_that_occur(tmp_path: Path) -> None:
    data = load_examples(str(write_parquet(tmp_path / "train.parquet", TOKENS, TAGS, Value("string"))), "train")
    assert_two_sentences(data)
    assert data.labels == ["LOC", "PER"]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train.parquet", "train"),
        ("train-00000-of-00001.parquet", "train"),
        ("data/train-00000-of-00001.parquet", "train"),
        ("validation.parquet", "validation"),
        ("valid.parquet", "validation"),
        ("dev.parquet", "validation"),
        ("test.parquet", "test"),
    ],
)
def test_splits_are_found_by_the_file_names_of_a_directory(tmp_path: Path, file: str, split: str) -> None:
    write_named(tmp_path / "set" / file)
    assert_two_sentences(load_examples(str(tmp_path / "set"), split))
    assert has_split(str(tmp_path / "set"), split)
    assert [name for name in ("train", "validation", "test") if has_split(str(tmp_path / "set"), name)] == [split]


def test_a_split_may_have_several_files(tmp_path: Path) -> None:
    for part in range(2):
        write_named(tmp_path / f"train-0000{part}-of-00002.parquet", TOKENS[part : part + 1], TAGS[part : part + 1])
    assert_two_sentences(load_examples(str(tmp_path), "train"))


def test_a_single_file_can_be_loaded_as_any_split_but_has_only_train(tmp_path: Path) -> None:
    file = str(write_named(tmp_path / "mine.parquet"))
    for split in ("train", "validation", "test"):
        assert_two_sentences(load_examples(file, split))
    assert has_split(file, "train") and not has_split(file, "test")


@pytest.mark.parametrize("column", ["tokens", "ner_tags"])
def test_a_missing_column_is_named_with_the_existing_columns(tmp_path: Path, column: str) -> None:
    columns = {"tokens": TOKENS, "ner_tags": TAGS}
    columns["other"] = columns.pop(column)
    Dataset.from_dict(columns).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(DatasetError, match=rf"has no column {column}, only .*'other'.*Rename its columns"):
        load_examples(str(tmp_path), "train")


def test_numbers_without_names_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", TOKENS, numbered(TAGS), Value("int64"))
    with pytest.raises(
        DatasetError,
        match=r"train\.parquet, row 0 has numbers in .ner_tags., and nothing names them\. Make",
    ):
        load_examples(str(tmp_path), "train")


def test_an_unlabelled_word_among_class_labels_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", TOKENS, [[1, 2, 0, 5, -1], [0, 0]], ClassLabel(names=NAMES))
    with pytest.raises(DatasetError, match=r"row 0 has a tag -1, but only 0 to 6 have names"):
        load_examples(str(tmp_path), "train")


def test_a_wrong_number_of_tags_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", TOKENS, [TAGS[0], ["O"]], Value("string"))
    with pytest.raises(DatasetError, match="row 1 has 2 words and 1 tags; give one tag per word"):
        load_examples(str(tmp_path), "train")


# CoNLL


@pytest.mark.parametrize("suffix", [".conll", ".bio", ".iob2", ".tsv", ".txt"])
@pytest.mark.parametrize(
    "text",
    [
        "Angela\tB-PER\nMerkel\tI-PER\nbesuchte\tO\nNairobi\tB-LOC\n.\tO\n\nNiemand\tO\nkam\tO\n",
        "Angela B-PER\nMerkel  I-PER \nbesuchte O\nNairobi B-LOC\n. O\n\n\n \nNiemand O\nkam O",
        "Angela NE _ B-PER\nMerkel NE _ I-PER\nbesuchte V _ O\nNairobi NE _ B-LOC\n. $ _ O\n\nNiemand P _ O\nkam V _ O\n",
        "-DOCSTART- -X- O O\n\n# id = 1\nAngela\tB-PER\nMerkel\tI-PER\nbesuchte\tO\nNairobi\tB-LOC\n.\tO\n\n"
        "# id = 2\n-DOCSTART-\tO\nNiemand\tO\nkam\tO\n",
        "Angela\tB-PER\r\nMerkel\tI-PER\r\nbesuchte\tO\r\nNairobi\tB-LOC\r\n.\tO\r\n\r\nNiemand\tO\r\nkam\tO\r\n",
        "\ufeffAngela\tB-PER\nMerkel\tI-PER\nbesuchte\tO\nNairobi\tB-LOC\n.\tO\n\nNiemand\tO\nkam\tO\n",
    ],
    ids=["tabs", "spaces", "columns between", "document starts and comments", "line ends of Windows", "byte order mark"],
)
def test_conll_files_are_read(tmp_path: Path, text: str, suffix: str) -> None:
    (tmp_path / f"train{suffix}").write_bytes(text.encode())
    data = load_examples(str(tmp_path), "train")
    assert_two_sentences(data)
    assert data.labels == ["LOC", "PER"]


def test_a_line_that_begins_with_a_hash_and_has_a_tag_is_a_word(tmp_path: Path) -> None:
    data = load_examples(write(tmp_path / "train.conll", "#\tO\nBonn\tB-LOC\n#1\tO\n"), "train")
    assert words_of(data) == [["#", "Bonn", "#1"]]


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x1c", "\u00a0", "\u3000"], ids=ascii)
def test_a_word_with_unusual_white_space_is_not_split(tmp_path: Path, character: str) -> None:
    data = load_examples(write(tmp_path / "train.conll", f"New{character}York\tB-LOC\nruft\tO\n"), "train")
    assert words_of(data) == [[f"New{character}York", "ruft"]]


def test_a_line_without_a_tag_is_named_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train.conll, line 2: 'Merkel' is not a word and a tag. Write the word, a tab"):
        load_examples(write(tmp_path / "train.conll", "Angela\tB-PER\nMerkel\n"), "train")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_bytes("Köln\tB-LOC\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8") as caught:
        load_examples(str(tmp_path), "train")
    assert "train.conll" in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "spans", "repairs"),
    [
        ("I-PER I-PER O I-LOC B-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")], 0),
        ("B-PER L-PER O U-LOC U-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")], 0),
        ("B-PER E-PER O S-LOC S-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")], 0),
        ("B-PER I-PER O B-LOC B-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")], 0),
        ("B-PER I-PER O I-LOC B-LOC", [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC")], 1),
    ],
    ids=["IOB1", "BILOU", "BIOES", "BIO", "BIO with a repair"],
)
def test_the_tagging_scheme_is_detected(tmp_path: Path, tags: str, spans: list[Span], repairs: int) -> None:
    lines = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))
    data = load_examples(write(tmp_path / "train.conll", lines), "train")
    assert (list(data.examples[0].spans), len(data.repairs), data.labels) == (spans, repairs, ["LOC", "PER"])


@pytest.mark.parametrize("tag", ["X-PER", "B-", "7"])
def test_an_unknown_tag_is_refused_with_the_expected_form(tmp_path: Path, tag: str) -> None:
    with pytest.raises(
        DatasetError, match=rf"train.conll, line 3, word 'Bonn': tag '{tag}' is not BIO, IOB1 or BILOU. Write 'B-'"
    ):
        load_examples(write(tmp_path / "train.conll", f"# Bonn\nIn\tO\nBonn\t{tag}\n"), "train")


def test_an_invalid_tag_in_a_record_is_named_with_its_row_and_word(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "train.parquet", TOKENS, [TAGS[0], ["O", "PER"]], Value("string"))
    with pytest.raises(DatasetError, match=r"train.parquet, row 1, word 'kam': tag 'PER' is not BIO"):
        load_examples(str(file), "train")


def test_a_tag_that_does_not_fit_its_neighbours_is_named_with_its_line(tmp_path: Path) -> None:
    text = "Ngozi\tB-PER\nOkonjo\tI-PRE\n\n# next\n\nBonn\tB-LOC\nist\tI-PER\nweit\tI-PER\n"
    data = load_examples(write(tmp_path / "train.conll", text), "train")
    file = tmp_path / "train.conll"
    assert data.repairs == [
        f"{file}, line 2, word 'Okonjo': I-PRE was read as a PRE of one word",
        f"{file}, line 7, word 'ist': I-PER was read as the first word of a PER",
    ]
    assert summarize_repairs(data.repairs).endswith("a PRE of one word (and 1 more)")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("U-LOC B-PER U-PER", "B-PER was read as a PER of one word"),
        ("U-LOC B-PER I-PER", "I-PER was read as the last word of a PER"),
        ("U-LOC I-PER L-PER", "I-PER was read as the first word of a PER"),
    ],
)
def test_the_reading_of_a_repaired_tag_is_reported(tmp_path: Path, tags: str, expected: str) -> None:
    lines = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))
    (repair,) = load_examples(write(tmp_path / "train.conll", lines), "train").repairs
    assert repair.endswith(expected)


def test_a_tag_without_a_word_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train.conll, line 2: .* is not a word and a tag"):
        load_examples(write(tmp_path / "train.conll", "Bonn\tB-LOC\n\tB-LOC\n"), "train")


def test_rows_of_several_files_are_counted_over_all(tmp_path: Path) -> None:
    for number, tag in enumerate(("B-LOC", "LOC")):
        write_parquet(tmp_path / f"train-{number:05}-of-00002.parquet", [["Bonn"]], [[tag]], Value("string"))
    with pytest.raises(DatasetError, match=rf"{tmp_path}, row 1, word 'Bonn': tag 'LOC' is not BIO"):
        load_examples(str(tmp_path), "train")


def test_labels_that_differ_only_in_case_are_noted_with_their_lines(tmp_path: Path) -> None:
    data = load_examples(write(tmp_path / "train.conll", "Bonn\tB-LOC\nruft\tO\n\nGraz\tB-loc\nruft\tO\nAnna\tB-PER\n"), "train")
    assert data.labels == ["LOC", "PER", "loc"]
    (note,) = data.notes
    assert "'LOC' (" in note and "train.conll, line 1, word 'Bonn') and 'loc' (" in note and "line 4, word 'Graz')" in note


def test_every_label_has_the_place_where_it_occurs_first(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    write(file, '{"text": "Bonn", "label": []}\n{"text": "Bonn", "label": [[0, 4, "LOC"]]}\n')
    assert load_examples(str(file), "train").label_places == {"LOC": f"{file}, line 2"}


# Missing, empty and damaged files


def test_a_missing_split_is_an_error_that_lists_the_files(tmp_path: Path) -> None:
    write_named(tmp_path / "train.parquet")
    with pytest.raises(DatasetError, match=r"has no test split: no file such as test\.parquet .* only \['train.parquet'\]"):
        load_examples(str(tmp_path), "test")


def test_a_missing_or_unsupported_file_is_not_requested_from_the_hub(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no my/missing\.conll"):
        load_examples("my/missing.conll", "train")
    with pytest.raises(DatasetError, match=r"There is no \./missing\. Give"):
        load_examples("./missing", "train")
    with pytest.raises(DatasetError, match=r"train\.csv has the suffix '\.csv'; supported are \.bio, \.conll"):
        load_examples(write(tmp_path / "train.csv", "Bonn,B-LOC\n"), "train")


def test_an_empty_directory_has_no_split(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="only nothing"):
        load_examples(str(tmp_path), "train")


@pytest.mark.parametrize("text", ["", "\n\n", "-DOCSTART- -X- O O\n\n"])
def test_an_empty_conll_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match=r"train\.conll"):
        load_examples(write(tmp_path / "train.conll", text), "train")


def test_an_empty_parquet_file_is_refused(tmp_path: Path) -> None:
    write_named(tmp_path / "train.parquet", [], [])
    with pytest.raises(DatasetError, match=r"train\.parquet"):
        load_examples(str(tmp_path), "train")


def test_a_damaged_parquet_file_raises_a_helpful_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Could not load dataset .*train\.parquet.* Give a Hub id"):
        load_examples(write(tmp_path / "train.parquet", "no parquet"), "train")


def test_an_unknown_hub_id_raises_a_helpful_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, configuration: str | None, split: str) -> None:
        raise FileNotFoundError(f"{name} {configuration} {split} was not found\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DatasetError, match=r"Could not load dataset 'no/such': no/such sw train was not found\. Give a Hub id"):
        load_examples("no/such:sw", "train")


def test_configuration_and_revision_are_passed_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> Dataset:
        asked.append((names, options))
        return Dataset.from_dict({"tokens": TOKENS, "tags": TAGS})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name in ("ann/ner", "ann/ner:de", "ann/ner@v1.0", "ann/ner:de@refs/pr/3", "ann/ner:de@refs/convert/parquet"):
        assert_two_sentences(load_examples(name, "test"))
    assert asked == [
        (("ann/ner", None), {"split": "test"}),
        (("ann/ner", "de"), {"split": "test"}),
        (("ann/ner", None), {"split": "test", "revision": "v1.0"}),
        (("ann/ner", "de"), {"split": "test", "revision": "refs/pr/3"}),
        (("ann/ner", None), {"split": "test", "revision": "refs/convert/parquet", "data_dir": "de"}),
    ]


def test_the_splits_of_a_dataset_of_the_hub_are_known_without_loading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def split_names(*names: Any, **options: Any) -> list[str]:
        asked.append((names, options))
        return ["train", "validation"]

    monkeypatch.setattr(datasets, "get_dataset_split_names", split_names)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("a split was loaded"))
    assert has_split("ann/ner", "validation") and not has_split("ann/ner:de@v1.0", "test")
    assert has_split("ann/ner:de@refs/convert/parquet", "train")
    assert asked == [
        (("ann/ner", None), {}),
        (("ann/ner", "de"), {"revision": "v1.0"}),
        (("ann/ner", None), {"revision": "refs/convert/parquet", "data_dir": "de"}),
    ]


def test_an_error_of_the_hub_does_not_mean_that_there_is_no_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def split_names(*_: Any) -> list[str]:
        raise TimeoutError("The Hub did not answer.")

    monkeypatch.setattr(datasets, "get_dataset_split_names", split_names)
    with pytest.raises(DatasetError, match=r"Could not load dataset 'ann/ner': The Hub did not answer\. Give a Hub id"):
        has_split("ann/ner", "validation")
    with pytest.raises(DatasetError, match=r"There is no \./missing\. Give"):
        has_split("./missing", "validation")


def test_a_dataset_that_needs_a_script_is_reported_with_its_parquet_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found conll2003.py")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DatasetError, match=r"parquet copy: conll2003:CONFIGURATION@refs/convert/parquet"):
        load_examples("conll2003", "train")
    with pytest.raises(DatasetError, match=r"parquet copy: tner/x:de@refs/convert/parquet"):
        load_examples("tner/x:de", "train")


@pytest.mark.parametrize("names", [("tokens", "tags"), ("words", "labels"), ("tokens", "ner"), ("words", "ner_tags")])
def test_columns_of_parquet_may_have_other_names(tmp_path: Path, names: tuple[str, str]) -> None:
    columns = {names[0]: TOKENS, names[1]: TAGS, "pos_tags": TAGS, "id": [1, 2]}
    Dataset.from_dict(columns).to_parquet(str(tmp_path / "train.parquet"))
    data = load_examples(str(tmp_path), "train")
    assert_two_sentences(data)
    assert [row["id"] for row in data.extra_columns] == [1, 2]


def test_columns_and_tag_names_of_parquet_can_be_given(tmp_path: Path) -> None:
    columns = {"w": TOKENS, "t": numbered(TAGS), "ner_tags": numbered(TAGS)}
    Dataset.from_dict(columns).to_parquet(str(tmp_path / "train.parquet"))
    assert_two_sentences(load_examples(str(tmp_path), "train", ColumnNames("w", "t", NAMES)))
    write_named(tmp_path / "named" / "train.parquet")
    with pytest.raises(DatasetError, match=r"names the tags of 'ner_tags' itself: O, B-PER"):
        load_examples(str(tmp_path / "named"), "train", ColumnNames(tag_names=NAMES))


def test_other_class_label_columns_do_not_add_types(tmp_path: Path) -> None:
    features = Features(
        {
            "tokens": List(Value("string")),
            "chunk_tags": List(ClassLabel(names=["O", "B-NP"])),
            "ner_tags": List(ClassLabel(names=NAMES)),
        }
    )
    columns = {"tokens": TOKENS, "chunk_tags": [[0] * 5, [1, 1]], "ner_tags": numbered(TAGS)}
    Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "train.parquet"))
    assert load_examples(str(tmp_path), "train").labels == ["LOC", "ORG", "PER"]


def test_parquet_of_annotate_is_read(tmp_path: Path) -> None:
    entity = {"text": "Nairobi", "label": "LOC", "start": 0, "end": 7, "score": 0.5}
    columns = {"text": ["Nairobi!", "Hm."], "entities": [[entity], []], "language": ["sw", "sw"], "known": [True, True]}
    Dataset.from_dict(columns).to_parquet(str(tmp_path / "train.parquet"))
    data = load_examples(str(tmp_path), "train")
    assert [e.spans for e in data.examples] == [(Span(0, 1, "LOC"),), ()] and data.predicted


# The package's own sentences, and drawing from them


@pytest.mark.parametrize("file", sorted(SENTENCES.glob("*.conll")), ids=lambda file: file.stem)
def test_the_example_sentences_of_the_repository_can_be_read(file: Path) -> None:
    data = load_examples(str(file), "train")
    assert data.labels == ["LOC", "ORG", "PER"] and data.repairs == []
    assert len(data.examples) >= 50


CITIES = [example(f"Stadt {number}", (0, 2, "LOC")) for number in range(30)]


@given(limit=st.integers(0, 40), seed=st.integers())
def test_a_sample_is_the_same_for_the_same_seed(limit: int, seed: int) -> None:
    drawn = sample_examples(CITIES, limit, seed)
    assert drawn == sample_examples(CITIES, limit, seed)
    assert len(drawn) == len({e.key for e in drawn}) == min(limit, len(CITIES))
    assert all(e in CITIES for e in drawn)


def test_another_seed_draws_another_sample() -> None:
    assert len({tuple(e.key for e in sample_examples(CITIES, 10, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("limit", [None, 30, 99])
def test_a_sample_of_all_keeps_the_order(limit: int | None) -> None:
    assert sample_examples(CITIES, limit, seed=1) == CITIES


def test_examples_are_excluded_by_their_words() -> None:
    kept: list[Example] = exclude_by_key(CITIES, {"Stadt 0", "Stadt 7", "Dorf 1"})
    assert [e.key for e in kept] == [f"Stadt {number}" for number in range(30) if number not in (0, 7)]


def test_a_number_sign_with_a_tag_is_a_word_and_without_one_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "train.conll"
    file.write_text("# id = 7\n# O\nBonn B-LOC\n", encoding="utf-8")
    (labelled,) = load_examples(str(file), "train").examples
    assert [word.text for word in labelled.sentence.words] == ["#", "Bonn"]
