"""The Gradio page in a headless Chromium."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from typer.testing import CliRunner

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.cli.app import app
from modeling_retrieveall.integrations.gradio_page import page as page_of
from modeling_retrieveall.model.entities import Entity
from modeling_retrieveall.model.outputs import Extraction
from modeling_retrieveall.model.request import Request
from tests.chromium import chromium
from tests.conftest import ROOT
from tests.random_adapters import write_random_adapters

TEXT = "Angela Merkel besuchte Nairobi. Ada Lovelace lived in London."
ARABIC = "ولدت زها حديد في بغداد."
# A page can be slow on a busy machine.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module")
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as started:
        yield started


@pytest.fixture(scope="module")
def address(model: RetrieveAllModel) -> Iterator[str]:
    blocks = page_of(model)
    yield blocks.launch(prevent_thread_lock=True, quiet=True)[1]
    blocks.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    yield page
    page.close()
    assert urls and all(url.startswith((address, "data:", "blob:")) for url in urls), "the page loads nothing from other servers"


def find_entities(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Text").fill(text)
    page.get_by_role("button", name="Find entities").click()


def choose_language(page: Page, language: str) -> None:
    page.get_by_label("Language").click()
    page.get_by_role("option", name=language, exact=True).click()


@pytest.fixture
def finds(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the entities that the model returns, because the tiny random model finds none; the rest of its result is real."""

    def patch(**labels: str) -> None:
        extract = model.extract

        def with_entities(text: str, **options: Any) -> Extraction:
            names = {name.replace("_", " "): label for name, label in labels.items()}
            found = [Entity(name, label, text.index(name), text.index(name) + len(name), 0.984) for name, label in names.items()]
            request = Request(labels=options["labels"], threshold=options["threshold"])
            return replace(extract(text, **options), entities=[each for each in found if request.keeps(each.label, each.score)])

        monkeypatch.setattr(model, "extract", with_entities)

    return patch


def test_the_entities_of_a_text_are_highlighted(page: Page, model: RetrieveAllModel, finds: Callable[..., None]) -> None:
    finds(Angela_Merkel="PER", Nairobi="LOC", Ada_Lovelace="PER")
    find_entities(page, TEXT)
    marks = page.locator("#results mark")
    expect(marks).to_have_text(["Angela MerkelPER 0.98", "NairobiLOC 0.98", "Ada LovelacePER 0.98"])
    person, place, other = (mark.evaluate("mark => getComputedStyle(mark).backgroundColor") for mark in marks.all())
    assert person == other != place


def test_language_and_adapters_of_each_sentence_are_shown(page: Page, model: RetrieveAllModel) -> None:
    find_entities(page, TEXT)
    sentences = model.extract(TEXT, details=True).sentences
    rows = page.locator("#results tr:has(td)").filter(visible=True)
    expect(rows).to_have_count(len(sentences))
    for row, sentence in zip(rows.all(), sentences, strict=True):
        language, probability = next(iter(sentence.details.posterior.items()))
        text, known = TEXT[sentence.start : sentence.end], "" if sentence.route.known else "?"
        (adapter,) = sentence.route.mixture
        shown = [text, f"{language}{known}", re.compile(f"^{language} {probability:.2f}"), f"{adapter} 1.00"]
        expect(row.locator("td")).to_have_text(shown)


def test_the_menu_sets_the_language(page: Page, model: RetrieveAllModel) -> None:
    for language in ("de", "en"):
        choose_language(page, language)
        find_entities(page, TEXT)
        expect(page.locator("#results td").nth(1)).to_have_text(language)
        entities = model.extract(TEXT, language=language).entities
        expect(page.locator("#results mark")).to_have_text([f"{e.text}{e.label} {e.score:.2f}" for e in entities])


def choose_minimum_score(page: Page, score: str) -> None:
    number = page.get_by_label("number input for Minimum score")
    number.fill(score)
    number.press("Enter")


def test_entity_types_and_a_minimum_score_select_entities(page: Page, finds: Callable[..., None]) -> None:
    finds(Angela_Merkel="PER", Nairobi="LOC", London="ORG")
    marks, types = page.locator("#results mark"), page.get_by_label("Entity types")
    chosen = page.locator("#labels .token")
    expect(chosen).to_have_text(["LOC", "ORG", "PER"])
    for label, left in (("LOC", ["Angela MerkelPER 0.98", "LondonORG 0.98"]), ("PER", ["LondonORG 0.98"])):
        types.click()
        page.get_by_role("option", name=label).click()
        types.press("Escape")
        expect(chosen).to_have_count(len(left))
        find_entities(page, TEXT)
        expect(marks).to_have_text(left)
    types.click()
    page.get_by_role("option", name="ORG").click()
    types.press("Escape")
    find_entities(page, TEXT)
    expect(page.get_by_text("Choose at least one entity type.")).to_be_visible()
    types.click()
    page.get_by_role("option", name="PER").click()
    for score, left in (("0.98", ["Angela MerkelPER 0.98"]), ("0.99", []), ("0", ["Angela MerkelPER 0.98"])):
        choose_minimum_score(page, score)
        find_entities(page, TEXT)
        expect(marks).to_have_text(left)


def test_examples_and_prompt_can_be_expanded(page: Page, model: RetrieveAllModel) -> None:
    find_entities(page, TEXT)
    prompt = page.locator("#results pre").first
    expect(page.locator("#results td").first).to_be_visible()
    expect(prompt).not_to_be_visible()
    page.get_by_role("button", name="Retrieved examples and prompt").click()
    sentence = model.extract(TEXT, details=True).sentences[0]
    expect(prompt).to_be_visible()
    expect(prompt).to_have_text(sentence.details.prompt)
    nearest = sentence.details.retrieved.mentions[0]
    row = page.locator("#results tr", has_text=f"{nearest.item.text} = {nearest.item.span.label}").first
    expect(row).to_contain_text(f"{nearest.similarity:.2f}")


def test_known_mentions_are_shown(page: Page, model: RetrieveAllModel) -> None:
    choose_language(page, "de")
    text = f"Das ist {max(model.adapters['de'].index.mentions, key=lambda mention: len(mention.text)).text}."
    find_entities(page, text)
    page.get_by_role("button", name="Retrieved examples and prompt").click()
    known = model.extract(text, language="de", details=True).sentences[0].details.known_mentions
    assert known
    for mention in known:
        row = page.locator("#results tr", has_text=mention.text).filter(has_text=mention.summary)
        expect(row.first.locator("td")).to_have_text([mention.text, mention.summary])


def test_an_example_fills_the_box(page: Page) -> None:
    page.get_by_role("button", name="Анна Ахматова").click()
    expect(page.get_by_role("textbox", name="Text")).to_have_value(re.compile("Анна Ахматова родилась .*"))


def test_right_to_left_text_has_the_right_direction(page: Page, finds: Callable[..., None]) -> None:
    finds(بغداد="LOC", Graz="LOC")
    find_entities(page, f"{ARABIC}\nGraz liegt an der Mur.")
    marks, paragraph = page.locator("#results mark"), page.locator("#results p")
    expect(marks).to_have_count(2)
    assert paragraph.evaluate("p => getComputedStyle(p).direction") == "rtl"
    for shown in (page.locator("#text textarea"), paragraph):
        style = shown.evaluate("e => [getComputedStyle(e).unicodeBidi, getComputedStyle(e).textAlign]")
        assert style == ["plaintext", "start"]
    # The Arabic line starts at the right border and ends with Baghdad; the line below starts at the left border.
    whole, baghdad, graz = (shown.bounding_box() for shown in (paragraph, marks.first, marks.last))
    first_word = paragraph.evaluate(
        """p => {
            const range = new Range()
            range.setStart(p.firstChild, 0)
            range.setEnd(p.firstChild, 4)
            return range.getBoundingClientRect().toJSON()
        }"""
    )
    assert whole and baghdad and graz
    assert whole["x"] + whole["width"] - first_word["right"] < 5
    assert baghdad["x"] + baghdad["width"] < first_word["left"]
    assert graz["x"] - whole["x"] < 5 and graz["y"] > baghdad["y"]


def test_an_error_is_shown_as_a_message(page: Page, model: RetrieveAllModel, folder: Path) -> None:
    choose_language(page, "en")
    model.remove_language("en")
    find_entities(page, TEXT)
    expect(page.get_by_test_id("toast-body")).to_contain_text("There are: de, mul")
    model.add_language(folder / "en")
    find_entities(page, TEXT)
    expect(page.locator("#results td").nth(1)).to_have_text("en")


def test_an_empty_text_and_a_text_with_markup(page: Page) -> None:
    find_entities(page, "<b>Bonn</b>")
    expect(page.locator("#results p")).to_contain_text(">Bonn<")
    find_entities(page, "")
    expect(page.locator("#results p")).to_have_text("")
    expect(page.locator("#results td")).to_have_count(0)


def test_the_command_serves_it_until_interrupted(folder: Path, browser: Browser) -> None:
    command = [sys.executable, "-m", "modeling_retrieveall.cli.app", "demo", "--model", str(folder), "--dtype", "float32"]
    # A background process of a shell ignores SIGINT, and the command would inherit this.
    handles_interrupt = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=handles_interrupt)
    try:
        assert process.stdout
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        page = browser.new_page()
        page.goto(url)
        find_entities(page, TEXT)
        expect(page.locator("#results td").first).to_be_visible()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_a_missing_gradio_is_reported_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "modeling_retrieveall.integrations.gradio_page")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert 'pip install "retrieveall[demo]"' in result.stderr


def test_the_space_serves_the_page(model: RetrieveAllModel, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(RetrieveAllModel, "from_pretrained", lambda name, **_: loaded.append(name) or model)
    space: dict[str, object] = {}
    exec((ROOT / "examples" / "space" / "app.py").read_text(encoding="utf-8"), space)
    assert loaded == ["shipped"]
    assert type(space["demo"]).__name__ == "Blocks"
