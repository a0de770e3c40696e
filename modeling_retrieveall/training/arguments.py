"""How a language is learned: every setting, with the reason for its default.

>>> TrainingArguments(language="sw", dataset=["examples/sentences/sw.conll"], output="runs/sw").batch_size
8
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from ..data.rows import Columns
from ..model.embedded_llm import EMBEDDED_BASE
from ..model.errors import InputError
from ..model.manifest import check_language
from ..model.prompting import DECODINGS, Decoding

_EPOCHS, _STEPS = 2, 60


def _flag(default: Any, help: str) -> Any:
    """A field of the arguments; its help is what ``--help`` shows."""
    return field(default=default, metadata={"help": help})


@dataclass
class TrainingArguments:
    """How a language is learned; the help of each field says why its default is what it is."""

    language: str = field(
        metadata={
            "help": "BCP-47 code of the language, or `mul` for the shared multilingual adapter. Several, separated by commas, "
            "are learned one after another, each from its own --dataset into a folder of --output."
        }
    )
    dataset: list[str] = field(
        metadata={
            "help": "Hub id (name or name:configuration, with @revision if need be), directory with a file of each split, or one "
            "file: CoNLL, JSON of doccano, Label Studio, Prodigy, spaCy or Hugging Face, parquet; several for `mul`, and one for "
            "each of several languages."
        }
    )
    output: str = field(metadata={"help": "Folder of the finished adapter."})
    tokens_column: str | None = _flag(
        None, "Column of the words or texts: its name, or its number in a column file. When not given it is found."
    )
    tags_column: str | None = _flag(
        None, "Column of the tags or labelled mentions: its name, or its number in a column file. When not given it is found."
    )
    tag_names: str | None = _flag(None, "What the numbers 0, 1, ... of the tags mean, as in `O,B-PER,I-PER`.")
    base: str = _flag(EMBEDDED_BASE, "The base LLM: embedded/gemma-3-270m, a Hub id or a directory.")
    base_revision: str | None = _flag(
        None, "Branch, tag or commit hash of a base on the Hub; when not given that of --init, or else the newest."
    )
    quantize: str | None = _flag(
        None, "Load the base in 4bit (NF4) or 8bit with bitsandbytes: QLoRA, for a base that hardly fits."
    )
    init: str = _flag(
        "auto",
        "Adapter to start from: a folder, or a repository on the Hub (`owner/name@revision`); `mul` for the shared one of the "
        "package; `none` for nothing. `auto` takes `mul` where it fits the base: with hundreds of sentences it is worth several "
        "points of F1.",
    )
    epochs: int | None = _flag(
        None,
        "Passes over the data. When not given 2 (a third mostly memorises; four gave no better F1), and more when sentences are "
        "few: as many as give 60 steps. With 50 sentences 10 epochs gave 64.4 F1 and 2 gave 58.9.",
    )
    max_steps: int | None = _flag(None, "Steps of the optimizer at most; the epochs decide when not given.")
    patience: int = _flag(
        0,
        "Epochs without a better validation F1 after which training stops; the adapter of the best epoch is kept. 0 measures "
        "at the end alone and keeps the last epoch.",
    )
    learning_rate: float | None = _flag(
        None,
        "Peak rate after the warm-up; falls linearly to zero. When not given: 1e-3, with which 600 sentences of a language new "
        "to `mul` came to 78.6 F1 (5e-4: 77.8, 2e-4: 74.6). For fewer sentences of such a language less, as the root of their "
        "number, at least 3e-4: with 25, de came to 74.5 and sw to 64.2 (1e-3: 60.5 and 63.0). 5e-4 when the adapter it "
        "starts from has learned most of these sentences itself, which takes am from 41.2 to 43.4 and leaves ta where it was.",
    )
    start_share: float | None = _flag(
        None,
        "Share of the adapter it starts from in the weights of the finished one, which lie between the two. When not given 0.5 "
        "if that adapter has learned most of these sentences itself (am 42.1 to 46.3, de 77.6 to 80.1, sw and ta half a point "
        "and one down), or gives all their entity types (new to it: bg 79.0 to 80.3, de 81.2 to 82.5, ta 57.2 to 64.7); less "
        "for fewer than 600 sentences, which are learned at a lower rate instead. 0 where types are new: sw, with dates, fell "
        "from 78.6 to 71.5.",
    )
    rank: int = _flag(8, "Rank of the LoRA on every linear layer. 8 keeps an adapter of the embedded LLM under 4 MB in bf16.")
    lora_alpha: int = _flag(16, "Scaling of the LoRA times its rank; twice the rank, as is usual.")
    lora_dropout: float = _flag(0.0, "Dropout before the LoRA; none, for so few steps hardly overfit.")
    batch_size: int = _flag(8, "Sentences of a batch, which each process learns from at a time.")
    max_batch_tokens: int = _flag(
        4096,
        "Tokens that a process computes at once at most, padding included. Lower it when memory runs out: a step is then "
        "computed in more parts, and learns the same (but for what --lora_dropout drops).",
    )
    gradient_accumulation: int = _flag(1, "Batches of one step of the optimizer.")
    gradient_checkpointing: bool = _flag(
        False, "Compute activations twice instead of keeping them: a third slower, far less memory."
    )
    torch_compile: bool = _flag(
        False, "Compile the layers of the base with torch.compile: faster after some minutes. It needs a C++ compiler."
    )
    warmup: float = _flag(0.06, "Share of the steps in which the rate rises.")
    max_gradient_norm: float = _flag(1.0, "Gradients are clipped to this norm.")
    knowledge_share: float = _flag(
        0.5, "Share of samples with retrieved examples in the prompt; the others keep the model reading instead of looking up."
    )
    tags_share: float | None = _flag(
        None,
        "Share of samples that are answered by tags, all read in one pass; the others are answered by generation, token by "
        "token. At 1 the adapter cannot generate, as it does on a vLLM server; at 0 it cannot tag. When not given 0.75, or 0 if "
        "the adapter it starts from has not learned tags, or with --gradient_checkpointing.",
    )
    empty_share: float = _flag(
        0.25,
        "Share of sentences without an entity. Where the data has fewer, parts of its sentences between the entities are added, "
        "and sentences that ship with the package. 0 adds none.",
    )
    n_entities: int = _flag(6, "Retrieved entities in a prompt at most.")
    n_sentences: int = _flag(2, "Retrieved sentences in a prompt at most.")
    encoder_layer: int = _flag(12, "Hidden layer of the base whose states are the sentence and word vectors.")
    max_train_examples: int | None = _flag(None, "Sentences drawn from each dataset; all when not given.")
    max_index_examples: int | None = _flag(
        None, "Training sentences kept as examples to retrieve from, drawn from each dataset; all when not given."
    )
    max_validation_examples: int = _flag(200, "Sentences on which F1 is measured at the end; 0 measures nothing.")
    shard_languages: bool = _flag(
        False,
        "Of several languages each process of the launch learns its own, at the same time. Otherwise all processes learn one "
        "after another together, which is for many sentences: hundreds are a few steps of one GPU.",
    )
    seed: int = _flag(0, "Decides the draws, the order and the start.")
    mixed_precision: str = _flag("auto", "no, bf16 or fp16; auto takes bf16 where the hardware multiplies it natively.")
    checkpoint_steps: int = _flag(
        0, "Steps between checkpoints. 0 writes one after every epoch; an interrupt writes one at once."
    )
    overwrite: bool = _flag(False, "Replace an adapter that --output holds already, and begin an interrupted run anew.")
    resume: bool = _flag(False, "Go on from the last checkpoint, which lies in <output>.checkpoint.")
    report_to: str = _flag("none", "Tracker of Accelerate for loss and F1: tensorboard, wandb, ...; logs lie in <output>.logs.")

    def __post_init__(self) -> None:
        """Refuses what cannot be meant, before anything is loaded."""
        for language in self.language.split(","):
            check_language(language)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; give at least {least}.")
        if not 0 <= self.empty_share < 1:
            raise InputError(f"empty_share is {self.empty_share}; give a share of at least 0 and below 1.")
        for name in ("knowledge_share", "tags_share", "start_share", "warmup", "lora_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; give a share between 0 and 1.")
        if self.quantize not in (None, "4bit", "8bit"):
            raise InputError(f"quantize is {self.quantize!r}; give 4bit or 8bit.")
        if self.patience and not self.max_validation_examples:
            raise InputError("patience needs validation sentences to measure on; give max_validation_examples.")
        if self.gradient_checkpointing and self.tags_share:
            raise InputError(
                "gradient_checkpointing does not work with tags: it keeps nothing of the first copy of a sentence. Lower "
                "max_batch_tokens instead, or set tags_share to 0."
            )
        languages = self.language.split(",")
        if len(languages) > 1 and len(languages) != len(self.dataset):
            raise InputError(f"There are {len(languages)} languages and {len(self.dataset)} datasets; give one for each.")
        if self.overwrite and self.resume and len(languages) > 1:
            raise InputError(
                "Of several languages nobody knows which --overwrite had already replaced. Give --resume alone, which keeps all "
                "finished ones, or --overwrite alone, which begins all anew."
            )
        if self.shard_languages and len(languages) == 1:
            raise InputError(f"There is nothing to shard: --language is {self.language} alone. Leave out --shard_languages.")

    def columns(self) -> Columns:
        """Where words and labels stand in the datasets."""
        return Columns.named(self.tokens_column, self.tags_column, self.tag_names)

    def epochs_for(self, sentences: int, processes: int = 1) -> int:
        """The epochs asked for, or those that suit the number of training sentences on so many processes.

        >>> TrainingArguments(language="sw", dataset=["examples/sentences/sw.conll"], output="runs/sw").epochs_for(600)
        2
        """
        if self.epochs is not None:
            return self.epochs
        steps_of_an_epoch = max(1, math.ceil(sentences / (self.batch_size * self.gradient_accumulation * processes)))
        return max(_EPOCHS, math.ceil(_STEPS / steps_of_an_epoch))

    def decodings(self) -> list[Decoding]:
        """The ways of answering that are learned, the one to prefer first.

        >>> TrainingArguments(language="sw", dataset=["sw.conll"], output="runs/sw", tags_share=1).decodings()
        ['tags']
        """
        tags = self.tags_share or 0.0
        shares: dict[Decoding, float] = {"tags": tags, "generation": 1 - tags}
        return [decoding for decoding in DECODINGS if shares[decoding]]

    def decisive(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the one it goes on from, or it would be neither.

        >>> TrainingArguments(language="sw", dataset=["sw.conll"], output="runs/sw").decisive()["language"]
        'sw'
        """
        return {name: value for name, value in asdict(self).items() if name not in _FREE_TO_CHANGE}

    def runs(self) -> list["TrainingArguments"]:
        """The settings of each language's run; of one language, these."""
        languages = self.language.split(",")
        if len(languages) == 1:
            return [self]
        return [
            replace(self, language=language, dataset=[dataset], output=f"{self.output}/{language}", shard_languages=False)
            for language, dataset in zip(languages, self.dataset, strict=True)
        ]


def parse_arguments(given: Sequence[str] | None, program: str) -> TrainingArguments:
    """Reads the settings of a command line.

    Args:
        given: What was written after the command; that of this process when ``None``.
        program: The command, for its help.

    Raises:
        SystemExit: Help was asked for, or a setting is missing or of another type; the parser has said so.
        InputError: A setting cannot be meant, or there is none of that name.

    Examples:
        >>> parse_arguments(["--language", "sw", "--dataset", "sw.conll", "--output", "runs/sw"], "train").epochs_for(600)
        2
    """
    words = sys.argv[1:] if given is None else list(given)
    settings = [f"--{name}" for name in TrainingArguments.__dataclass_fields__]
    # Before the parser, which would complain of what a mistyped setting leaves missing.
    for name in (word.partition("=")[0] for word in words if word.startswith("--")):
        if f"--{name[2:].replace('-', '_')}" not in [*settings, "--help"]:
            meant = get_close_matches(name, settings, 1, _ALIKE)
            hint = f"Is {meant[0]} meant?" if meant else "--help lists all."
            if name in _OF_ALL_COMMANDS and program.startswith(_COMMAND):
                hint = f"It stands before the command, as in {_COMMAND} {name} train."
            raise InputError(f"There is no setting {name}. {hint}")
    from transformers import HfArgumentParser  # takes seconds, in which a mistyped setting would not be told

    usage = f"{program} --language LANGUAGE --dataset DATASET --output FOLDER [SETTINGS]"
    parser = HfArgumentParser(TrainingArguments, prog=program, usage=usage)  # type: ignore[arg-type]
    arguments, left = parser.parse_args_into_dataclasses(args=words, return_remaining_strings=True)
    if left:
        raise InputError(
            f"{left[0]!r} belongs to no setting. Several languages are separated by commas; --help lists all settings."
        )
    read: TrainingArguments = arguments
    return read


_COMMAND, _OF_ALL_COMMANDS = "retrieveall", ("--quiet", "--debug")
_ALIKE = 0.7
"""How alike a mistyped setting and the one that is meant are at least."""

_FREE_TO_CHANGE = {"output", "overwrite", "resume", "report_to", "checkpoint_steps", "gradient_checkpointing", "start_share"}
_FREE_TO_CHANGE |= {"max_batch_tokens", "torch_compile"}
# What these stand for is compared.
_FREE_TO_CHANGE |= {"dataset", "tokens_column", "tags_column", "tag_names", "base_revision"}
"""Settings that neither the steps of a run nor their order nor the choice among its epochs depend on."""

_LEAST: dict[str, float] = {
    "epochs": 0,
    "max_steps": 1,
    "patience": 0,
    "learning_rate": 0,
    "rank": 1,
    "lora_alpha": 1,
    "batch_size": 1,
    "max_batch_tokens": 1,
    "gradient_accumulation": 1,
    "n_entities": 0,
    "n_sentences": 0,
    "encoder_layer": 0,
    "max_train_examples": 1,
    "max_index_examples": 1,
    "max_validation_examples": 0,
    "checkpoint_steps": 0,
}
