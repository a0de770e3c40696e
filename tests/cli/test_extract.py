"""``retrieveall extract`` on a tiny base LLM."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.model.language_adapter import LanguageAdapter
from tests.cli.conftest import TEXT, Run


def test_json_has_one_object_per_text(run: Run, model: Path) -> None:
    code, output, _ = run("extract", "--model", model, "--json", TEXT, "")
    rows = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == [TEXT, ""]
    assert set(rows[0]) == {"text", "language", "known", "entities"}
    assert rows[0]["language"] == "de"
    assert (rows[1]["language"], rows[1]["known"], rows[1]["entities"]) == ("und", False, [])
    for entity in rows[0]["entities"]:
        assert set(entity) == {"text", "label", "start", "end", "score"}
        assert TEXT[entity["start"] : entity["end"]] == entity["text"]


def test_labels_and_thresholds_select_entities(run: Run, model: Path) -> None:
    def entities(*options: object) -> list[dict[str, Any]]:
        output = run("extract", "--model", model, "--json", "--language", "de", TEXT, "Bonn und Graz", *options)[1]
        return [entity for line in output.splitlines() for entity in json.loads(line)["entities"]]

    found = entities()
    label = found[0]["label"]
    assert entities("--labels", label) == [entity for entity in found if entity["label"] == label]
    assert entities("--threshold", f"{label}=1") == [entity for entity in found if entity["label"] != label]
    assert entities("--threshold", "1") == []


def test_consistent_labels_are_those_of_the_model(run: Run, model: Path, tmp_path: Path) -> None:
    text = "Angela Merkel besuchte Nairobi. Nairobi liegt in Kenia. Dort traf Merkel Kenia und Bonn. Bonn, Graz und Wien."
    loaded = RetrieveAllModel.from_pretrained(model)
    expected, alone = (loaded.extract(text, consistent_labels=each).to_dict()["entities"] for each in (True, False))
    assert expected != alone
    output = run("extract", "--model", model, "--json", "--consistent-labels", text)[1]
    assert json.loads(output)["entities"] == expected
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    run("annotate", tmp_path / "in.txt", tmp_path / "out.jsonl", "--model", model, "--consistent-labels")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8"))["entities"] == expected


def test_a_threshold_that_is_no_number_is_reported(run: Run, model: Path) -> None:
    code, _, error = run("extract", "--model", model, TEXT, "--threshold", "PER=high")
    assert code == 2
    assert "--threshold is 'PER=high'; give a number, or numbers by type" in error


def test_texts_come_from_a_file_or_from_standard_input(run: Run, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("Bonn\r\nÄgypten\x0bund\n\n".encode())
    expected = ["Bonn", "Ägypten\x0bund", ""]
    from_file = run("extract", "--model", model, "--json", "--file", file)[1]
    from_stdin = run("extract", "--model", model, "--json", stdin=file.read_bytes())[1]
    assert [json.loads(line)["text"] for line in from_file.splitlines()] == expected
    assert from_stdin == from_file


def test_a_pipe_is_read_like_a_file(run: Run, model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(b"Bonn\nGraz\n",))
    writer.start()
    output = run("extract", "--model", model, "--json", "--file", pipe)[1]
    writer.join()
    assert [json.loads(line)["text"] for line in output.splitlines()] == ["Bonn", "Graz"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_selects_the_encoding_of_a_file(run: Run, model: Path, tmp_path: Path, encoding: str) -> None:
    file, text = tmp_path / "texts.txt", "Bonn ruft.\r\nКиев тоже.\r\n"
    file.write_bytes(text.encode(encoding))
    for source in ({"stdin": file.read_bytes()}, {}):
        given = [] if source else ["--file", file]
        output = run("extract", "--model", model, "--json", *given, **source)[1]
        assert [json.loads(line)["text"] for line in output.splitlines()] == ["Bonn ruft.", "Киев тоже."]
    output = run("extract", "--model", model, "--json", "--document", "--file", file)[1]
    assert json.loads(output)["text"] == text


def test_a_wrong_encoding_is_reported_before_the_model_is_loaded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"Bonn\n" * 999 + "Köln ruft.\n".encode("cp1252"))
    for command in (["extract", "--file", file], ["annotate", file, tmp_path / "out.jsonl"]):
        code, output, errors = run(*command, "--model", tmp_path / "nothing")
        assert (code, output) == (2, "")
        assert "texts.txt, line 1000: byte 0xf6 is not UTF-8. Save the file as UTF-8." in " ".join(errors.split())
    code, output, errors = run("extract", "--model", tmp_path / "nothing", stdin=b"\xf6\n")
    assert (code, output) == (2, "") and "standard input, line 1: byte 0xf6 is not UTF-8" in errors


def test_conll_has_one_word_and_its_tag_per_line(run: Run, model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "--conll", TEXT)
    lines = output.splitlines()
    assert [line.split("\t")[0] for line in lines[:-1]] == ["Angela", "Merkel", "besuchte", "Nairobi", "."]
    assert lines[-1] == ""


def test_explain_as_json_has_languages_examples_and_prompt_of_each_sentence(run: Run, model: Path) -> None:
    code, output, _ = run("extract", "--model", model, "--explain", "--json", f"{TEXT} Graz liegt an der Mur.")
    result = json.loads(output)
    assert code == 0
    assert [result["text"][s["start"] : s["end"]] for s in result["sentences"]] == [TEXT, "Graz liegt an der Mur."]
    for sentence in result["sentences"]:
        assert sentence["posterior"] == {"de": 1.0} and sentence["adapters"] == {"de": 1.0}
        assert sentence["prompt"].endswith(f"Tags: {result['text'][sentence['start'] : sentence['end']]}")
    assert all(entity.keys() >= {"text", "label", "start", "end", "score", "support"} for entity in result["entities"])


def test_document_reads_the_file_as_one_text(run: Run, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(f"{TEXT}\n\nGraz liegt\nan der Mur.\n", encoding="utf-8")
    _, output, _ = run("extract", "--model", model, "--json", "--document", "--file", file)
    (row,) = [json.loads(line) for line in output.splitlines()]
    assert row["text"] == file.read_text(encoding="utf-8")


def test_a_prior_excludes_languages(run: Run, model: Path, tiny_adapter: Any) -> None:
    _, output, _ = run("extract", "--model", model, "--add", tiny_adapter("en"), "--prior", "en", "--json", TEXT)
    assert json.loads(output)["language"] == "en"


def test_explain_shows_route_and_prompt(run: Run, model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "--explain", TEXT)
    assert "language de" in output
    assert f"Tags: {TEXT}" in output


def test_explain_shows_known_mentions(run: Run, tiny_adapter: Callable[[str], Path]) -> None:
    model = tiny_adapter("de")
    known = max(LanguageAdapter.load(model).index.mentions, key=lambda mention: len(mention.text)).text
    _, output, _ = run("extract", "--model", model, "--explain", f"Das ist {known}.")
    assert re.search(rf"known mention +{re.escape(known)}: (LOC|ORG|PER) \d", " ".join(output.split()))
    _, output, _ = run("extract", "--model", model, "--explain", "--json", f"Das ist {known}.")
    (sentence,) = json.loads(output)["sentences"]
    (row,) = [row for row in sentence["known_mentions"] if row["text"] == known]
    assert sum(row["counts"].values()) == row["occurrences"] and row["start"] == len("Das ist ")


def test_the_table_shows_text_and_language(run: Run, model: Path) -> None:
    _, output, _ = run("extract", "--model", model, "Bonn [/] [bold]")
    assert "Bonn [/] [bold]" in output
    assert "de" in output


def test_an_adapter_can_be_added(run: Run, model: Path, tiny_adapter: Callable[[str], Path]) -> None:
    _, output, _ = run("extract", "--model", model, "--add", tiny_adapter("en"), "--language", "en", "--json", TEXT)
    assert json.loads(output)["language"] == "en"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language", "xx", TEXT], "There are: de"),
        (["--json", "--conll", TEXT], "--conll excludes --json and --explain"),
        (["--conll", "--explain", TEXT], "--conll excludes --json and --explain"),
        (["--prior", "de=much", TEXT], "--prior is 'de=much'; give languages with weights"),
        (["--prior", "xx", TEXT], "The prior names 'xx', but the model routes among de."),
        (["--file", "no-such-file.txt"], "There is no file"),
        (["--add", "no-such-folder", TEXT], "is not a language adapter: there is no such folder"),
        (["--dtype", "int3", TEXT], "give auto, float32"),
    ],
)
def test_an_error_is_one_message_and_exit_code_2(run: Run, model: Path, arguments: list[str], message: str) -> None:
    code, output, errors = run("extract", "--model", model, *arguments)
    assert code == 2
    assert output == ""
    assert message in errors
    assert "Traceback" not in errors


def test_a_missing_model_is_an_error(run: Run, tmp_path: Path) -> None:
    code, _, errors = run("extract", "--model", tmp_path / "nothing", TEXT)
    assert code == 2
    assert "There is no model" in errors
