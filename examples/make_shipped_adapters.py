"""How the shipped adapters were made: `mul` first, each language from it, then the package's own sentences as examples.

    python examples/make_shipped_adapters.py --data ../shared/data --runs runs

Adapters that are in ``--runs`` already are not trained again.
"""

from pathlib import Path
from typing import Annotated

import typer

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.collection import shipped_adapters
from modeling_retrieveall.data.labelled import load_examples
from modeling_retrieveall.publishing.sharing import share
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train

LANGUAGES = {code: f"panx/{code}" for code in ("bg", "bn", "da", "de", "en", "es", "no", "ru", "ta")}
LANGUAGES |= {"zh": "uner/zh_gsd", "hr": "uner/hr_set", "pt": "uner/pt_bosque"}
SENTENCES = Path(__file__).parent / "sentences"


def main(
    data: Annotated[Path, typer.Option(help="Folder with panx/ and uner/, laid out like their Hub datasets.")],
    runs: Annotated[Path, typer.Option(help="Folder of the adapters as trained.")] = Path("runs"),
    train_examples: Annotated[int, typer.Option(help="Training sentences of each dataset.")] = 600,
) -> None:
    mul = runs / "mul"
    if not mul.is_dir():
        train(
            TrainingArguments(
                language="mul",
                dataset=[str(data / folder) for folder in LANGUAGES.values()],
                output=str(mul),
                init="none",
                # Over twelve datasets: twice the batch of a language; and a prompt without examples more often than not, for
                # `mul` has to read languages that have none.
                learning_rate=1e-3,
                batch_size=16,
                knowledge_share=0.3,
                max_train_examples=train_examples,
                max_validation_examples=100,
                resume=is_interrupted(str(mul)),
            )
        )
    for language, folder in LANGUAGES.items():
        if not (runs / language).is_dir():
            train(
                TrainingArguments(
                    language=language,
                    dataset=[str(data / folder)],
                    output=str(runs / language),
                    init=str(mul),
                    max_train_examples=train_examples,
                    resume=is_interrupted(str(runs / language)),
                )
            )
    ship(runs)


def ship(runs: Path) -> None:
    """Puts the package's own sentences in place of the training sentences, whose text is not passed on."""
    model = RetrieveAllModel.from_pretrained(runs / "mul")
    own = {language: load_examples(str(SENTENCES / f"{language}.conll"), "train").examples for language in LANGUAGES}
    for language, examples in own.items():
        share(runs / language, examples, shipped_adapters() / language, model)
    share(runs / "mul", [example for examples in own.values() for example in examples], shipped_adapters() / "mul", model)


if __name__ == "__main__":
    typer.run(main)
