"""CoNLL files: columns of words and tags, comments, tagging schemes and spellings; unclear files are refused."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.labelled_data import LabelledData
from modeling_retrieveall.data.loading import has_split, load_examples
from modeling_retrieveall.data.reader_types import ColumnNames, DatasetError
from modeling_retrieveall.data.tags import canonical_tags, detect_scheme, spans_from_tags
from modeling_retrieveall.model.entities import Span
from tests.strategies import spans_within, tags_in_scheme

LOC, ORG, PER = "LOC", "ORG", "PER"


def read(tmp_path: Path, text: str | bytes, name: str = "data.conll", columns: ColumnNames | None = None) -> LabelledData:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_examples(str(file), "train", columns)


def sentences(data: LabelledData) -> list[tuple[list[str], list[tuple[int, int, str]]]]:
    return [([word.text for word in e.sentence.words], [tuple(span) for span in e.spans]) for e in data.examples]


GERMEVAL = "1\tIn\tO\tO\n2\tBonn\tB-LOC\tO\n3\tTSV\tB-ORG\tO\n4\tBonn\tI-ORG\tB-LOC\n\n"
GERMEVAL_READ = [(["In", "Bonn", "TSV", "Bonn"], [(1, 2, LOC), (2, 4, ORG)])]
BONN = [(["Bonn", "ruft"], [(0, 1, LOC)])]


@pytest.mark.parametrize("comment", ["# http://example.org [2009]\n", "#\thttp://example.org [2009]\n", "#id 1\n", "#1\n", ""])
def test_the_outer_layer_of_germeval_is_read(tmp_path: Path, comment: str) -> None:
    data = read(tmp_path, comment + GERMEVAL, "NER-de-train.tsv")
    assert sentences(data) == GERMEVAL_READ
    (note,) = data.notes
    assert note.startswith("mentions inside others, which were left out, as column 3 holds the outer mentions: 1, such as LOC (")


def test_the_outer_layer_may_be_the_second_column(tmp_path: Path) -> None:
    assert sentences(read(tmp_path, "In O O\nBonn O B-LOC\nTSV O B-ORG\nBonn B-LOC I-ORG\n\n")) == GERMEVAL_READ


@pytest.mark.parametrize(
    "text",
    [
        "# sent_id = a\n1\tBonn\tB-LOC\t-\t-\n2\truft\tO\t-\t-\n\n",
        "# global.columns = ID FORM UPOS X:NER\n1\tBonn\tPROPN\tB-LOC\n2\truft\tVERB\tO\n\n",
        "token\tpos\tner\nBonn\tN\tB-LOC\nruft\tV\tO\n",
        "0 Bonn B-LOC\n1 ruft O\n",
        "Bonn\tB-LOC\t\nruft\tO\t\n",
        "Bonn\tB-LOC\t\nruft\tO\n",
        "Bonn \tB-LOC\n ruft\tO\n",
        "Bonn B-LOC  \nruft O\n",
        "B-LOC\tBonn\nO\truft\n",
        "#id 1\nBonn B-LOC\nruft O\n",
        "#begin document (bonn)\nBonn\tB-LOC\n# a comment inside a sentence\nruft\tO\n#end document\n",
        "\ufeff-DOCSTART- O\n\n\ufeffBonn\tB-LOC\nruft\tO\n",
        "Bonn NNP B-NP B-LOC\nruft VBZ B-VP O\n",
        "Bonn NNP B-NP LOC\nruft VBZ B-VP O\n",
        "Bonn N 0 4 B-LOC\nruft V 5 9 O\n",
        "Bonn\t\tB-LOC\nruft\t\tO\n",
        "Bonn B-LOC 7\nruft O 8\n",
    ],
)
def test_words_and_tags_are_found_in_any_column(tmp_path: Path, text: str) -> None:
    assert sentences(read(tmp_path, text)) == BONN


CONLL_U = (
    "# sent_id = 1\n# text = Bonn zum Rhein\n"
    "1\tBonn\tBonn\tPROPN\tNE\tCase=Nom\t0\troot\t_\t{}=B-LOC\n"
    "2-3\tzum\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
    "2\tzu\tzu\tADP\tAPPR\t_\t4\tcase\t_\t{}=O\n"
    "3\tdem\tder\tDET\tART\t_\t4\tdet\t_\t_\n"
    "3.1\tx\tx\t_\t_\t_\t_\t_\t1:x\t_\n"
    "4\tRhein\tRhein\tPROPN\tNE\t_\t1\tnmod\t_\tSpaceAfter=No|{}=B-LOC\n\n"
)


@pytest.mark.parametrize("key", ["NER", "name", "Entity"])
def test_tags_in_the_misc_column_of_conll_u_are_read(tmp_path: Path, key: str) -> None:
    data = read(tmp_path, CONLL_U.format(key, key, key), "parlamint.conllu")
    assert sentences(data) == [(["Bonn", "zum", "Rhein"], [(0, 1, LOC), (2, 3, LOC)])]


def test_a_multiword_token_belongs_to_the_mentions_of_its_words(tmp_path: Path) -> None:
    text = "1\tbei\tO\tO\n2-3\tzur\t_\t_\n2\tzu\tO\tO\n3\tder\tB-ORG\tO\n4\tBank\tI-ORG\tO\n\n"
    assert sentences(read(tmp_path, text)) == [(["bei", "zur", "Bank"], [(1, 3, ORG)])]


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u2009"])
def test_other_white_space_is_part_of_a_word_in_files_separated_by_spaces(tmp_path: Path, blank: str) -> None:
    data = read(tmp_path, f"New{blank}York B-LOC\n10{blank}000 B-NUM\nruft O\n\n")
    assert [word.text for word in data.examples[0].sentence.words] == [f"New{blank}York", f"10{blank}000", "ruft"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "New York B-LOC\n10 000 B-NUM\nruft O\n",
            r"line 3: 'ruft O' has 2 columns, but line 1 has 3: 'New York B-LOC'.* with tabs",
        ),
        ("ruft O\nNew York B-LOC\nBonn B-LOC\n", r"line 2: 'New York B-LOC' has 3 columns, but line 1 has 2"),
        (
            "7\tBonn\tB-LOC\n9\truft\tO\n",
            r"line 1: .*which column holds the words\? The first has '7', '9'\. Set `tokens_column`",
        ),
        ("1-1\t0-4\tBonn\tB-LOC\n1-2\t5-9\truft\tO\n", r"which column holds the words\?"),
        ("s1\tBonn\tB-LOC\ns1\truft\tO\ns1\tan\tO\n", r"which column holds the words\? The first has 's1'"),
        (
            "Bonn B-LOC B-LOC\nruft O B-PER\n",
            r"line 1: .*which column holds the tags.*Column 2 and 3 hold tags\. Set `tags_column` to 2",
        ),
        ("Bonn LOC city\nruft O O\n", r"which column holds the tags"),
        ("Bonn B-LOC city\nruft O O\n", r"which column holds the tags"),
        ("EU NNP B-NP eu\nruft VBZ B-VP ruf\n", r"Column 3 has phrases, not entities, and is not the last"),
        ("Bonn NNP\nruft VBZ\n", r"line 1, word 'Bonn': tag 'NNP' has no prefix, and no word is tagged 'O'"),
        ("Bonn B\nruft O\n", r"line 1, word 'Bonn': tag 'B' names no entity type\. Write 'B-'"),
        ("Bonn B-LOC\nGraz LOC\n", r"line 2, word 'Graz': tag 'LOC' is not BIO, IOB1 or BILOU, as other tags here are"),
        ("Bonn B-LOC\nGraz B_LOC\nruft O\n", r"line 2, word 'Graz': tag 'B_LOC'"),
        ("Bonn B-LOC|B-ORG\nruft O\n", r"tag 'B-LOC\|B-ORG'"),
        ("Bonn (LOC)\nruft *\n", r"tag '\(LOC\)' is not BIO"),
        ("1\tIn\tO\tO\n2\tTSV\tX-ORG\tO\n3\tBonn\tB-ORG\tB-LOC\n", r"line 2, .*tag 'X-ORG'"),
        ("Bonn\nruft\n", r"line 1: 'Bonn' is not a word and a tag"),
        ("\tB-LOC\nBonn\tB-LOC\n", r"line 1: .* is not a word and a tag"),
    ],
)
def test_an_unclear_file_is_refused_with_a_line_number(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"data\.conll, {message}" if message.startswith("line") else message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("7\tBonn\tB-LOC\n9\truft\tO\n", ColumnNames(tokens_column="2")),
        ("Bonn B-LOC B-LOC\nruft O B-PER\n", ColumnNames(tags_column="2")),
        ("# global.columns = DOC FORM A B\nx\tBonn\tB-LOC\tB-PER\nx\truft\tO\tB-PER\n", ColumnNames(tags_column="a")),
        (
            CONLL_U.format("A", "A", "A").replace("A=B-LOC\n", "A=B-LOC|B=B-PER\n").replace("2-3", "2").replace("2\tz", "2-3\tz"),
            None,
        ),
    ],
)
def test_columns_can_be_named(tmp_path: Path, text: str, columns: ColumnNames | None) -> None:
    if columns is None:
        with pytest.raises(DatasetError, match="Column A and B hold tags"):
            read(tmp_path, CONLL_U.format("A", "A", "A").replace("A=B-LOC\n", "A=B-LOC|B=B-PER\n"))
    else:
        assert sentences(read(tmp_path, text, columns=columns)) == BONN


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no column 'ner', only 1, 2\. Set `tags_column` to one of them"):
        read(tmp_path, "Bonn B-LOC\n", columns=ColumnNames(tags_column="ner"))


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-LOC M-LOC E-LOC O S-LOC", [(0, 3, LOC), (4, 5, LOC)]),
        ("LOC LOC LOC O LOC", [(0, 3, LOC), (4, 5, LOC)]),
        ("person-politician person-politician O O LOC", [(0, 2, "person-politician"), (4, 5, LOC)]),
        ("B_LOC I_LOC O B_PER_X O", [(0, 2, LOC), (3, 4, "PER_X")]),
        ("B:LOC I:LOC O O O", [(0, 2, LOC)]),
        ("b-loc i-loc o b-loc o", [(0, 2, "loc"), (3, 4, "loc")]),
        ("PER-B PER-I O PER-B PER-B", [(0, 2, PER), (3, 4, PER), (4, 5, PER)]),
        ("I-LOC I-LOC O O I-LOC", [(0, 2, LOC), (4, 5, LOC)]),
        ("B-product-1 I-product-1 O B-creative_work O", [(0, 2, "product-1"), (3, 4, "creative_work")]),
    ],
)
@pytest.mark.parametrize("separator", ["\t", " "])
def test_every_scheme_and_spelling_is_read(tmp_path: Path, tags: str, spans: list[tuple[int, int, str]], separator: str) -> None:
    lines = "".join(f"w{i}{separator}{tag}\n" for i, tag in enumerate(tags.split()))
    data = read(tmp_path, lines)
    assert [tuple(span) for span in data.examples[0].spans] == spans and data.repairs == []


SPELLINGS = {
    "BIO": lambda p, t: f"{p}-{t}",
    "BMES": lambda p, t: f"{dict(I='M', L='E', U='S').get(p, p)}-{t}",
    "underscore": lambda p, t: f"{p}_{t}",
    "small": lambda p, t: f"{p.lower()}-{t}",
    "last": lambda p, t: f"{t}-{p}",
}


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), spans_within(n))), st.sampled_from(sorted(SPELLINGS)))
def test_spans_are_recovered_from_every_spelling_of_tags(labelled: tuple[int, list[Span]], spelling: str) -> None:
    length, spans = labelled
    plain = tags_in_scheme(spans, length, "BILOU" if spelling == "BMES" else "BIO")
    tags = [tag if tag == "O" else SPELLINGS[spelling](*tag.split("-")) for tag in plain]
    canonical = canonical_tags(tags)
    read = [canonical[tag] for tag in tags]
    assert spans_from_tags(read, detect_scheme([read])) == (spans, [])


def test_types_without_prefixes_are_noted(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "Angela PER\nMerkel PER\nkam O\n").notes
    assert "without a prefix" in note and "'PER'" in note


def test_words_that_end_with_punctuation_are_noted(tmp_path: Path) -> None:
    (note,) = read(tmp_path, "-DOCSTART- -X- O\nIn -X- _ O\nBonn, -X- _ B-LOC\ngut. -X- _ O\n\n".replace("X- O", "X- _ O")).notes
    assert "'Bonn,'" in note and ": 2," in note
    assert read(tmp_path, "Dr. O\nBonn, B-LOC\n. O\n").notes == []


def test_a_gzip_file_is_read(tmp_path: Path) -> None:
    assert sentences(read(tmp_path, gzip.compress(b"Bonn B-LOC\nruft O\n"), "train.conll.gz")) == BONN
    with pytest.raises(DatasetError, match="is damaged"):
        read(tmp_path, b"no gzip", "train.conll.gz")


@pytest.mark.parametrize("name", ["train.conll", "NER-de-train.tsv", "en_ewt-ud-train.iob2", "TRAIN.CONLL"])
def test_other_files_beside_the_file_of_a_split_are_ignored(tmp_path: Path, name: str) -> None:
    read(tmp_path, "Bonn B-LOC\nruft O\n", name)
    (tmp_path / ("train_old.txt" if name == "train.conll" else "readme.txt")).write_text("1\n2\n", encoding="utf-8")
    assert sentences(load_examples(str(tmp_path), "train")) == BONN
    assert not has_split(str(tmp_path), "validation")


@pytest.mark.parametrize(
    "names", [("train.conll", "train.jsonl"), ("a-train.tsv", "b-train.tsv"), ("train_old.txt", "train_ids.txt")]
)
def test_several_files_of_a_split_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).write_text("Bonn B-LOC\nruft O\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"several files of the train split: .*Give one of them"):
        load_examples(str(tmp_path), "train")
    with pytest.raises(DatasetError, match="several files"):
        has_split(str(tmp_path), "train")


@pytest.mark.parametrize("name", [r"C:\data\ner", "C:/data/ner", r"data\ner", "data/panx/de", r"\\server\data"])
def test_a_mistyped_path_is_not_requested_from_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the Hub was asked"))
    with pytest.raises(DatasetError, match="There is no"):
        load_examples(name, "train")
