"""Train the multilingual adapter `mul` and each language from it, and write the adapters that ship with the package.

    python examples/make_shipped_adapters.py --data ../shared/data --runs runs --cards adapter_cards

A finished adapter in ``--runs`` is not trained again, and an interrupted run is resumed. On a CPU with two cores, `mul` is
trained fastest by two processes together, and languages by two processes that train different ones:

    export ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1
    accelerate launch --multi_gpu --num_processes 2 examples/make_shipped_adapters.py --data ../shared/data --languages ""
    python examples/make_shipped_adapters.py --data ../shared/data --languages de,fi & \
    python examples/make_shipped_adapters.py --data ../shared/data --languages ta,zh; wait

The adapters in ``adapter_cards`` were not made in one run: most of them learned tags of whole words first, and then tags of
units. Their cards say how each of them was trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Annotated

import cyrtranslit
import typer
from datasets import Dataset, load_dataset

from modeling_retrieveall import AdapterTrainingArguments, LanguageAdapter, RetrieveAllModel, train
from modeling_retrieveall.data.hebrew_treebank import as_written
from modeling_retrieveall.data.labelled_data import sample_examples
from modeling_retrieveall.data.loading import load_examples
from modeling_retrieveall.data.writing import to_tagged_words
from modeling_retrieveall.evaluation.calibration import scored_entities
from modeling_retrieveall.hub.cards import write_card
from modeling_retrieveall.hub.replace_examples import replace_examples
from modeling_retrieveall.hub.store_difference import store_difference
from modeling_retrieveall.model.atomic import replacing
from modeling_retrieveall.model.entities import Example, Sentence
from modeling_retrieveall.model.manifest import read_manifest
from modeling_retrieveall.model.score_calibration import ScoreCalibration
from modeling_retrieveall.training.resuming import is_interrupted
from modeling_retrieveall.training.sharding import is_main_process

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
LANGUAGES = (*(code for code in HUMAN if code not in ("kk", "ne", "si", "th")), "bg", "el", "es", "fr", "it")
"""The languages that ship. Adapters for Kazakh and Sinhala were not good enough, and Thai has not been trained yet. Nepali is
left out, because nearly all sentences of its corpus contain a name."""
MAX_LANGUAGE, MAX_ONLY_PANX = 3000, 1000
"""Maximum number of training sentences of a language: human-labelled ones, and lines of PAN-X if it has nothing else."""
SMALL = ("en", "et", "id", "ro", "ru", "si", "ta")
"""Languages with fewer than 2,800 human-labelled sentences. They are trained for twice as long, at twice the learning rate."""
MAX_ROUTING = 200
"""Maximum number of sentences of each corpus whose vectors ship for routing."""
RANK = 8
"""Rank of the difference between a language and `mul`."""
MUL_SHARES = (0.0, 0.5)
"""Shares of `mul` in the weights of a language. Validation decides: languages that `mul` knows well gain from the average."""
MAX_VALIDATION = 300
"""Maximum number of validation sentences for choosing between them, and for the calibration of the scores."""
MAX_OWN_IN_MUL = 10
"""Number of the package's own sentences of each language in the index of `mul`."""
SENTENCES = Path(__file__).parent / "sentences"
ON_THE_HUB = {"panx": "unimelb-nlp/wikiann", "panx40": "unimelb-nlp/wikiann", "uner": "universalner/universal_ner"}
OUTSIDE_THE_HUB = {
    "bengali_ner": "Bengali-NER (MIT)",
    "estner": "EstNER (CC BY 4.0)",
    "factrueval": "factRuEval-2016 (MIT)",
    "germeval2014": "GermEval 2014 (CC BY 4.0)",
    "hiner": "HiNER (CC BY-SA 4.0)",
    "idner": "IDNER-News-2K (MIT)",
    "kaznerd": "KazNERD (CC BY 4.0)",
    "klue": "KLUE-NER (CC BY-SA 4.0)",
    "lumii": "FullStack-LV (CC BY-SA 4.0)",
    "multiner": "multiNER (CC0)",
    "nepali_ner": "nepali-ner (MIT)",
    "nerkor": "NYTK-NerKor (CC BY-SA 4.0)",
    "norne": "NorNE (CC0)",
    "ronec": "RONEC (MIT)",
    "stockmark": "Stockmark NER Wikipedia dataset (CC BY-SA 3.0)",
    "thai_ner": "Thai NER (CC BY 3.0)",
    "turku": "Turku NER corpus (CC BY-SA 4.0)",
    "wikiner_tr": "Turkish Wiki NER (CC BY-SA 4.0)",
}
"""Names and licences of the corpora on the cards of the adapters."""


def main(
    data: Annotated[Path, typer.Option(help="Folder of the labelled corpora: `<source>/<language>/{train,...}.parquet`.")],
    runs: Annotated[Path, typer.Option(help="Folder of the trained adapters.")] = Path("runs"),
    languages: Annotated[str, typer.Option(help="The languages to train from `mul`, separated by commas.")] = ",".join(LANGUAGES),
    cards: Annotated[Path | None, typer.Option(help="Folder of the adapters that ship. By default none are written.")] = None,
) -> None:
    if not (runs / "mul").is_dir():
        train(multilingual_arguments(data, runs))
    chosen = list(filter(None, languages.split(",")))
    for language in chosen:
        if not (runs / language).is_dir():
            train(language_arguments(language, data, runs))
    if cards and is_main_process():
        ship("mul", runs, cards)
        for language in chosen:
            ship(language, runs, cards)
            store_best_difference(language, data, cards)


def multilingual_arguments(data: Path, runs: Path) -> AdapterTrainingArguments:
    """The arguments of the run, with all corpora and the package's own sentences."""
    human = [draw(data / folder, MAX_HUMAN, runs / "drawn" / folder) for folder in HUMAN.values()]
    silver = [draw(data / folder, MAX_PANX, runs / "drawn" / folder) for folder in multilingual_panx()]
    own = sorted(str(file) for file in SENTENCES.glob("*.conll") if file.stem != "sw")
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
    limits = {folder: MAX_PANX if language in HUMAN else MAX_ONLY_PANX for folder in language_panx(language)}
    if language in HUMAN:
        limits[HUMAN[language]] = MAX_LANGUAGE
    datasets = [draw(data / folder, limit, target / folder) for folder, limit in limits.items()]
    return AdapterTrainingArguments(
        language=[language],
        dataset=[*datasets, str(SENTENCES / f"{language}.conll")],
        output_dir=str(runs / language),
        init_adapter=str(runs / "mul"),
        start_share=0.0,
        num_train_epochs=2 if language in SMALL else 1,
        learning_rate=6e-4 if language in SMALL else 3e-4,
        batch_size=16,
        examples_share=0.0,
        tags_share=0.85,
        quantization="int8",
        max_index_examples=MAX_ROUTING,
        max_eval_samples=100,
        save_steps=100,
        resume=is_interrupted(str(runs / language)),
    )


def multilingual_panx() -> list[str]:
    """The folders of PAN-X that `mul` learns from."""
    return [f"panx/{code}" for code in PANX] + [f"panx40/{code}" for code in PANX40]


def language_panx(language: str) -> list[str]:
    """The folders of PAN-X that a language learns from. PAN-X does not tell Bokmål from Nynorsk; nearly all of it is Bokmål."""
    code = {"nb": "no"}.get(language, language)
    return [folder for folder in multilingual_panx() if folder.partition("/")[2] == code]


def ship(language: str, runs: Path, cards: Path) -> None:
    """Writes an adapter that may be published: with the package's own sentences as examples, and small enough for the package."""
    files = [SENTENCES / f"{language}.conll"]
    number = None
    if language == "mul":
        files, number = sorted(SENTENCES.glob("*.conll")), MAX_OWN_IN_MUL
    examples = [example for file in files for example in sample_examples(load_examples(str(file), "train").examples, number, 0)]
    replace_examples(runs / language, examples, cards / language, RetrieveAllModel.from_pretrained(runs / language))
    adapter = LanguageAdapter.load(cards / language)
    adapter.manifest.training["datasets"] = list(dict.fromkeys(map(name_on_card, corpora(language))))
    adapter.save_index(adapter.path)
    write_card(adapter)


def store_best_difference(language: str, data: Path, cards: Path) -> None:
    """Stores the difference to `mul`, with the share of `mul` that has the highest F1 on validation sentences.

    If these are human-labelled, the scores are calibrated on them too.
    """
    folder = data / (HUMAN.get(language) or language_panx(language)[0])
    validation = sample_examples(load_examples(str(folder), "validation").examples, MAX_VALIDATION, 0)
    examples = CONVERSIONS.get(folder.name, list)(validation)
    labelled = sum(len(example.spans) for example in examples)
    f1, calibrations = {}, {}
    for share in MUL_SHARES:
        with TemporaryDirectory() as temporary:
            for code in ("mul", language):
                copytree(cards / code, Path(temporary) / code)
            store_difference(Path(temporary) / language, RANK, share)
            model = RetrieveAllModel.from_pretrained(Path(temporary) / language, quantization="int8")
            scores, correct = scored_entities(model, examples, language, calibrated=False)
            f1[share] = 200 * sum(correct) / max(len(correct) + labelled, 1)
            calibrations[share] = ScoreCalibration.fit(scores, correct)
    best = max(f1, key=f1.__getitem__)
    print(f"{language}: validation F1 by share of mul: {f1}; {calibrations[best]}")
    store_difference(cards / language, RANK, best)
    if language in HUMAN:
        manifest = read_manifest(cards / language)
        replace(manifest, score_calibration={"tags": list(astuple(calibrations[best]))}).save(cards / language)
        write_card(LanguageAdapter.load(cards / language))


def corpora(language: str) -> list[str]:
    """The folders of the corpora that an adapter was trained on, beside the package's own sentences."""
    if language == "mul":
        return [*HUMAN.values(), *multilingual_panx()]
    return [*([HUMAN[language]] if language in HUMAN else []), *language_panx(language)]


def name_on_card(folder: str) -> str:
    """The name of a corpus in a manifest: that on the Hub, or its name and licence."""
    source, _, configuration = folder.partition("/")
    return f"{ON_THE_HUB[source]}:{configuration}" if source in ON_THE_HUB else f"./{OUTSIDE_THE_HUB[source]}"


def draw(folder: Path, number: int, target: Path) -> str:
    """Draws training sentences of a corpus; writes them and all validation sentences as a new corpus, and returns its folder."""
    for split, limit in (("train", number), ("validation", None)):
        source = folder / f"{split}.parquet"
        if source.is_file() and not (target / source.name).is_file():
            rows = load_dataset("parquet", data_files=str(source), split="train").shuffle(seed=0)
            target.mkdir(parents=True, exist_ok=True)
            with replacing(target / source.name) as file:
                rows.select(range(min(limit or len(rows), len(rows)))).to_parquet(file)
                if convert := CONVERSIONS.get(folder.name):
                    converted = convert(load_examples(str(file), "train").examples)
                    Dataset.from_list([to_tagged_words(example, {}) for example in converted]).to_parquet(file)
    return str(target)


def half_in_cyrillic(examples: Sequence[Example]) -> list[Example]:
    """Writes every second sentence of a Serbian corpus in Cyrillic script, because Serbian is written in both scripts."""
    return [in_cyrillic(example) if i % 2 else example for i, example in enumerate(examples)]


def in_cyrillic(example: Example) -> Example:
    """A Serbian sentence in Cyrillic script."""
    words = [cyrtranslit.to_cyrillic(word.text, "sr") for word in example.sentence.words]
    return Example(Sentence.from_words(words), example.spans)


CONVERSIONS: dict[str, Callable[[Sequence[Example]], list[Example]]] = {
    "he_htb": lambda examples: list(map(as_written, examples)),
    "sr_set": half_in_cyrillic,
}
"""Functions that convert the sentences of a corpus, by the name of its folder."""


if __name__ == "__main__":
    typer.run(main)
