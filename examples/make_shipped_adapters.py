"""How the shipped adapters were made: `mul` first, each language from it, then the package's own sentences as examples.

    python examples/make_shipped_adapters.py --data ../shared/data --runs runs

Adapters that are in ``--runs`` already are not trained again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.collection import shipped_adapters
from modeling_retrieveall.publishing.sharing import share
from modeling_retrieveall.training.data import load_examples
from modeling_retrieveall.training.trainer import TrainingArguments, train

RELATIVES = [f"panx/{language}" for language in ("bn", "da", "no")]
SHARED = [f"panx/{language}" for language in ("bg", "bn", "da", "de", "en", "es", "no", "ru", "ta")]
SHARED += ["uner/zh_gsd", "uner/hr_set", "uner/pt_bosque"]
LANGUAGES = ("bg", "de", "en", "es", "ru", "ta")
SENTENCES = Path(__file__).parent / "sentences"


def main(
    data: Annotated[Path, typer.Option(help="Folder with panx/ and uner/, laid out like their Hub datasets.")],
    runs: Annotated[Path, typer.Option(help="Folder of the adapters as trained.")] = Path("runs"),
    train_examples: Annotated[int, typer.Option(help="Training sentences of each dataset.")] = 600,
) -> None:
    # Languages that are not shipped may lend more of their sentences: they teach the task, not the languages measured.
    _train("mul", RELATIVES, data, runs / "relatives", init="none", epochs=1, max_train_examples=2500, knowledge_share=0.0)
    _train(
        "mul",
        SHARED,
        data,
        runs / "mul",
        init=str(runs / "relatives"),
        # Over twelve datasets there is more to learn than in one language; examples in one prompt of ten, for `mul` has to
        # read languages that have none.
        learning_rate=7e-4,
        knowledge_share=0.1,
        max_train_examples=train_examples,
    )
    for language in LANGUAGES:
        _train(
            language,
            [f"panx/{language}"],
            data,
            runs / language,
            init=str(runs / "mul"),
            public_examples=str(SENTENCES / f"{language}.conll"),
            max_train_examples=train_examples,
        )
    ship(runs)


def _train(language: str, datasets: Sequence[str], data: Path, output: Path, **settings: Any) -> None:
    if not output.is_dir():
        names = [str(data / name) for name in datasets]
        train(TrainingArguments(language=language, dataset=names, output=str(output), max_validation_examples=50, **settings))


def ship(runs: Path) -> None:
    """Puts the package's own sentences in place of the training sentences, whose text is not passed on."""
    model = RetrieveAllModel.from_pretrained(runs / "mul")
    own = {language: load_examples(str(SENTENCES / f"{language}.conll"), "train").examples for language in LANGUAGES}
    for language, examples in own.items():
        share(runs / language, examples, shipped_adapters() / language, model)
    share(runs / "mul", [example for examples in own.values() for example in examples], shipped_adapters() / "mul", model)


if __name__ == "__main__":
    typer.run(main)
