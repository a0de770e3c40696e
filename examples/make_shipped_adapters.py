"""How the next `mul` is trained. The shipped adapters are of an earlier recipe; the languages follow when this `mul` is finished.

    python examples/make_shipped_adapters.py --data ../shared/data --runs runs

Adapters that are in ``--runs`` already are not trained again, and a run that was interrupted is resumed. On two cores:

    export ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1
    accelerate launch --multi_gpu --num_processes 2 examples/make_shipped_adapters.py --data ../shared/data --runs runs
"""

from pathlib import Path
from typing import Annotated

import typer
from datasets import load_dataset

from modeling_retrieveall.model.atomic import replacing
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.trainer import train

HUMAN = {
    **{"bn": "bengali_ner/bn", "da": "uner/da_ddt", "de": "germeval2014/de", "en": "uner/en_ewt", "et": "estner/et"},
    **{"fi": "turku/fi", "he": "uner/he_htb", "hi": "hiner/hi", "hr": "uner/hr_set", "hu": "nerkor/hu", "id": "idner/id"},
    **{"ja": "stockmark/ja", "kk": "kaznerd/kk", "ko": "klue/ko", "lv": "lumii/lv", "nb": "norne/nb", "ne": "nepali_ner/ne"},
    **{"nn": "norne/nn", "pt": "uner/pt_bosque", "ro": "ronec/ro", "ru": "factrueval/ru", "si": "multiner/si"},
    **{"sk": "uner/sk_snk", "sr": "uner/sr_set", "sv": "uner/sv_talbanken", "ta": "multiner/ta", "th": "thai_ner/th"},
    **{"tr": "wikiner_tr/tr", "zh": "uner/zh_gsd"},
}
"""Text that people have labelled, and from which adapters may be passed on, by language."""
PANX = ("bg", "bn", "da", "de", "en", "es", "fr", "no", "pt", "ru", "ta")
PANX40 = (
    *("af", "ar", "el", "et", "eu", "fa", "fi", "he", "hi", "hu", "id", "it", "ja", "jv", "ka", "kk", "ko", "ml", "ms", "my"),
    *("sw", "te", "th", "tl", "tr", "ur", "vi", "yo", "zh"),
)
"""Languages of Wikipedia lines, each of which holds a name: beside the human-labelled text, or where there is none."""
OF_HUMAN, OF_LINES = 1000, 200
"""Sentences that `mul` learns of each corpus: no language and no genre outweighs the others."""
SENTENCES = Path(__file__).parent / "sentences"


def main(
    data: Annotated[Path, typer.Option(help="Folder of the labelled corpora, `<source>/<language>/{train,...}.parquet`.")],
    runs: Annotated[Path, typer.Option(help="Folder of the adapters as trained.")] = Path("runs"),
) -> None:
    mul = runs / "mul"
    if not mul.is_dir():
        train(shared(data, runs))


def shared(data: Path, runs: Path) -> TrainingArguments:
    """The run of `mul`, over all corpora and the package's own sentences."""
    human = [drawn(data / folder, OF_HUMAN, runs / "drawn" / folder) for folder in HUMAN.values()]
    lines = [f"panx/{code}" for code in PANX] + [f"panx40/{code}" for code in PANX40]
    silver = [drawn(data / folder, OF_LINES, runs / "drawn" / folder) for folder in lines]
    own = sorted(str(file) for file in SENTENCES.glob("*.conll") if file.stem not in ("no", "sw"))
    return TrainingArguments(
        language="mul",
        dataset=[*human, *silver, *own],
        output=str(runs / "mul"),
        init="none",
        rank=32,
        lora_alpha=64,
        epochs=1,
        learning_rate=5e-4,
        knowledge_share=0.0,
        tags_share=0.85,
        max_index_examples=4,
        max_validation_examples=20,
        torch_compile=True,
        checkpoint_steps=100,
        resume=is_interrupted(str(runs / "mul")),
    )


def drawn(folder: Path, number: int, target: Path) -> str:
    """Draws training sentences of a corpus, and keeps them as a corpus of their own, with its validation sentences."""
    for split, limit in (("train", number), ("validation", None)):
        source = folder / f"{split}.parquet"
        if source.is_file() and not (target / source.name).is_file():
            rows = load_dataset("parquet", data_files=str(source), split="train").shuffle(seed=0)
            target.mkdir(parents=True, exist_ok=True)
            with replacing(target / source.name) as file:
                rows.select(range(min(limit or len(rows), len(rows)))).to_parquet(file)
    return str(target)


if __name__ == "__main__":
    typer.run(main)
