"""A Gradio page that shows the entities of a text, the language of each sentence, the retrieved examples and the prompt.

>>> page(RetrieveAllModel.from_pretrained("shipped")).launch()

The language, the entity types and the minimum score can be chosen on the page.
`retrieveall demo` serves this page, and `examples/space/` is a Space of the Hub with it.
"""

from html import escape

import gradio as gr
from jinja2 import Environment, PackageLoader

from ..annotation.html_report import LabelColours, split_at_entities
from ..model.errors import RetrieveAllError
from ..model.language_adapter import entity_types
from ..model.modeling_retrieveall import RetrieveAllModel
from ..model.outputs import entity_dict

_TEMPLATES = Environment(loader=PackageLoader(__name__.rpartition(".")[0], "templates"), autoescape=True, trim_blocks=True)
_EXAMPLES = [
    "Clara Schumann gab ihr erstes Konzert in Leipzig und lehrte später in Frankfurt am Main.",
    "Ada Lovelace met Charles Babbage in London, long before the University of Cambridge taught computing.",
    "Frida Kahlo nació en Coyoacán y expuso en el Museo del Louvre.",
    "Анна Ахматова родилась под Одессой и жила в Ленинграде.",
    "Васил Левски е роден в Карлово и загива в София.",
    "பாரதியார் எட்டயபுரத்தில் பிறந்தார்.",
    "Marie Curie wurde in Warschau geboren. Estudió en la Universidad de París. Её дочь Ирен родилась в Париже.",
    "ولدت زها حديد في بغداد ودرست في لندن.",
    "鲁迅出生于绍兴，在北京大学任教。",
]
# Each line has the direction of its script; the components of Gradio have one direction for all lines. The fonts are those of the
# browser, because the fonts of Gradio's theme lack most scripts.
_STYLE = """<style>
.gradio-container { --font: system-ui, sans-serif; --font-mono: ui-monospace, monospace; }
#text textarea, #examples button div, #results :is(p, pre) { unicode-bidi: plaintext; text-align: start; }
#results :is(p, pre) { white-space: pre-wrap; }
#results p { line-height: 1.9; }
#results mark { border-radius: .25rem; padding: .1rem .3rem; color: #222; }
#results small { font-size: .7rem; font-weight: 600; opacity: .7; margin-inline: .3rem; }
#results small { white-space: nowrap; unicode-bidi: isolate; }
#results table { width: 100%; }
#results :is(table, tr, td, th) { border: 0; padding: .2rem .6rem; text-align: start; vertical-align: top; }
#results tr { border-block-end: 1px solid #8885; }
</style>"""


def page(model: RetrieveAllModel) -> gr.Blocks:
    """Makes the page of a model, which can be launched or mounted in another application. It loads nothing from other servers.

    Args:
        model: The model. Its languages and entity types are in the menus. Requests are processed one at a time.

    Returns:
        The Gradio page.

    Examples:
        >>> page(model).launch(server_port=8000)
    """
    types = entity_types(model.adapters.values())

    def extract(text: str, language: str, labels: list[str], threshold: float) -> tuple[str, str]:
        if not labels:
            raise gr.Error("Choose at least one entity type.", print_exception=False)
        chosen = None if labels == types else labels  # an adapter that was added later may have further types
        try:
            result = model.extract(text, language=language or None, labels=chosen, threshold=threshold, details=True)
        except (RetrieveAllError, OSError, MemoryError) as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        highlighted = split_at_entities(text, [entity_dict(entity) for entity in result.entities])
        return (
            _TEMPLATES.get_template("page_entities.html").render(result=result, pieces=highlighted, colours=LabelColours()),
            _TEMPLATES.get_template("page_explanation.html").render(result=result),
        )

    blocks = gr.Blocks(title="RetrieveAll", analytics_enabled=False)
    with blocks:
        gr.HTML(_STYLE, padding=False)
        gr.Markdown(
            "# RetrieveAll\nNamed entities in many languages: one frozen LLM, with an adapter and labelled examples per language."
        )
        text = gr.Textbox(label="Text", lines=3, placeholder="A text in any of the languages", elem_id="text")
        with gr.Row():
            menu = [("detected", ""), *((code, code) for code in model.languages)]
            language = gr.Dropdown(menu, value="", label="Language")
            labels = gr.Dropdown(types, value=types, multiselect=True, label="Entity types", elem_id="labels")
            threshold = gr.Slider(0, 1, value=0, step=0.01, label="Minimum score")
        button = gr.Button("Find entities", variant="primary")
        with gr.Column(elem_id="results"):
            # gr.HighlightedText would show right-to-left text from left to right.
            entities = gr.HTML()
            with gr.Accordion("Retrieved examples and prompt", open=False):
                explanation = gr.HTML()
        gr.Examples([[example] for example in _EXAMPLES], text, elem_id="examples")
        button.click(extract, [text, language, labels, threshold], [entities, explanation])
    return blocks
