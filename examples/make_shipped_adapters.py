"""Train the next multilingual adapter `mul`, then each language from it. The shipped adapters have an earlier recipe.

    python examples/make_shipped_adapters.py --data ../shared/data --runs runs

A finished adapter in ``--runs`` is not trained again, and an interrupted run is resumed. With two processes on the CPU:

    export ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1
    accelerate launch --multi_gpu --num_processes 2 examples/make_shipped_adapters.py --data ../shared/data --runs runs
"""

from pathlib import Path
from typing import Annotated

import typer
from datasets import load_dataset

from modeling_retrieveall import AdapterTrainingArguments, train
from modeling_retrieveall.model.atomic import replacing
from modeling_retrieveall.training.resuming import is_interrupted

HUMAN = {
    **{"bn": "bengali_ner/bn", "da": "uner/da_ddt", "de": "germeval2014/de", "en": "uner/en_ewt", "et": "estner/et"},
    **{"fi": "turku/fi", "he": "uner/he_htb", "hi": "hiner/hi", "hr": "uner/hr_set", "hu": "nerkor/hu", "id": "idner/id"},
    **{"ja": "stockmark/ja", "kk": "kaznerd/kk", "ko": "klue/ko", "lv": "lumii/lv", "nb": "norne/nb", "ne": "nepali_ner/ne"},
    **{"nn": "norne/nn", "pt": "uner/pt_bosque", "ro": "ronec/ro", "ru": "factrueval/ru", "si": "multiner/si"},
    **{"sk": "uner/sk_snk", "sr": "uner/sr_set", "sv": "uner/sv_talbanken", "ta": "multiner/ta", "th": "thai_ner/th"},
    **{"tr": "wikiner_tr/tr", "zh": "uner/zh_gsd"},
}
"""Human-labelled corpora whose licences allow publishing adapters, by language."""
PANX = ("bg", "bn", "da", "de", "en", "es", "fr", "no", "pt", "ru", "ta")
PANX40 = (
    *("af", "ar", "el", "et", "eu", "fa", "fi", "he", "hi", "hu", "id", "it", "ja", "jv", "ka", "kk", "ko", "ml", "ms", "my"),
    *("sw", "te", "th", "tl", "tr", "ur", "vi", "yo", "zh"),
)
"""Languages of PAN-X: automatically labelled lines of Wikipedia, each of which contains a name."""
MAX_HUMAN, MAX_PANX = 1000, 200
"""Maximum number of training sentences of `mul` from each corpus, so that no language or genre outweighs the others."""
LANGUAGES = (*(code for code in HUMAN if code != "ne"), "bg", "el", "es", "fr", "it")
"""The languages to ship. Nepali is left out, because nearly all sentences of its corpus contain a name."""
MAX_LANGUAGE, MAX_ONLY_PANX = 3000, 1000
"""Maximum number of training sentences of a language: human-labelled ones, and lines of PAN-X if it has nothing else."""
SENTENCES = Path(__file__).parent / "sentences"


def main(
    data: Annotated[Path, typer.Option(help="Folder of the labelled corpora: `<source>/<language>/{train,...}.parquet`.")],
    runs: Annotated[Path, typer.Option(help="Folder of the trained adapters.")] = Path("runs"),
    languages: Annotated[str, typer.Option(help="The languages to train from `mul`, separated by commas.")] = ",".join(LANGUAGES),
) -> None:
    if not (runs / "mul").is_dir():
        train(multilingual_arguments(data, runs))
    for language in languages.split(","):
        if not (runs / language).is_dir():
            train(language_arguments(language, data, runs))


def multilingual_arguments(data: Path, runs: Path) -> AdapterTrainingArguments:
    """The arguments of the run, with all corpora and the package's own sentences."""
    human = [draw(data / folder, MAX_HUMAN, runs / "drawn" / folder) for folder in HUMAN.values()]
    lines = [f"panx/{code}" for code in PANX] + [f"panx40/{code}" for code in PANX40]
    silver = [draw(data / folder, MAX_PANX, runs / "drawn" / folder) for folder in lines]
    own = sorted(str(file) for file in SENTENCES.glob("*.conll") if file.stem not in ("no", "sw"))
    return AdapterTrainingArguments(
        language=["mul"],
        dataset=[*human, *silver, *own],
        output_dir=str(runs / "mul"),
        init_adapter="none",
        rank=32,
        lora_alpha=64,
        num_train_epochs=1,
        learning_rate=5e-4,
        examples_share=0.0,
        tags_share=0.85,
        max_index_examples=4,
        max_eval_samples=20,
        torch_compile=True,
        save_steps=100,
        resume=is_interrupted(str(runs / "mul")),
    )


def language_arguments(language: str, data: Path, runs: Path) -> AdapterTrainingArguments:
    """The arguments of a run from `mul`: the human-labelled corpus, PAN-X lines and the package's own sentences."""
    target = runs / "drawn" / language
    panx = {"nb": "no"}.get(language, language)
    datasets = [draw(data / HUMAN[language], MAX_LANGUAGE, target / "human")] if language in HUMAN else []
    for source, codes in (("panx", PANX), ("panx40", PANX40)):
        if panx in codes:
            datasets.append(draw(data / source / panx, MAX_PANX if language in HUMAN else MAX_ONLY_PANX, target / source))
    return AdapterTrainingArguments(
        language=[language],
        dataset=[*datasets, str(SENTENCES / f"{language}.conll")],
        output_dir=str(runs / language),
        init_adapter=str(runs / "mul"),
        start_share=0.0,
        num_train_epochs=1,
        learning_rate=3e-4,
        examples_share=0.0,
        tags_share=0.85,
        max_eval_samples=100,
        torch_compile=True,
        save_steps=100,
        resume=is_interrupted(str(runs / language)),
    )


def draw(folder: Path, number: int, target: Path) -> str:
    """Draws training sentences of a corpus; writes them and all validation sentences as a new corpus, and returns its folder."""
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
