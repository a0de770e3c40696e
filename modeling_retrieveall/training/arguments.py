"""Arguments of a training run.

>>> arguments = AdapterTrainingArguments(["sw"], ["examples/sentences/sw.conll"], "runs/sw")
>>> arguments.batch_size
8
"""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..data.reader_types import ColumnNames
from ..model.embedded_llm import EMBEDDED_BASE
from ..model.errors import InputError, InputTypeError
from ..model.prompting import DECODINGS, Decoding

_MIN_EPOCHS, _MIN_STEPS = 2, 60
"""The default number of epochs is the smallest that reaches both."""


def _argument(default: Any, help: str) -> Any:
    """A field with a default; ``--help`` shows its help text."""
    return field(default=default, metadata={"help": help})


DEFAULT_RANK, DEFAULT_LORA_ALPHA = 8, 16
"""Of a LoRA without an initial adapter."""


@dataclass
class AdapterTrainingArguments:
    """Arguments of :func:`~modeling_retrieveall.training.trainer.train`.

    Most names are those of ``transformers.TrainingArguments``; ``batch_size``, ``overwrite`` and ``resume`` are shorter.

    ``retrieveall train --help`` describes each argument. The commands ``retrieveall train`` and
    ``accelerate launch -m modeling_retrieveall.training.trainer`` have one option for each field.

    Raises:
        InputError: A value is out of range, or values contradict one another.
        InputTypeError: ``language`` or ``dataset`` is not a list.
    """

    language: list[str] = field(
        metadata={
            "help": "BCP-47 code of the language, or `mul` for the multilingual adapter. With several codes, one adapter is "
            "trained after another; each uses the dataset at the same position and is written to a subfolder of `output_dir`."
        }
    )
    dataset: list[str] = field(
        metadata={
            "help": "Labelled data: a Hub id (`name` or `name:configuration`, optionally with `@revision`), a folder with one "
            "file per split, or a file: CoNLL, parquet, or JSON of doccano, Label Studio, Prodigy, spaCy or Hugging Face. One "
            "language can be trained on several datasets; several languages need one dataset each."
        }
    )
    output_dir: str = field(
        metadata={
            "help": "Folder of the finished adapter; with several languages, the folder that gets one folder for each language."
        }
    )
    tokens_column: str | None = _argument(
        None, "Column of the words or texts: its name, or its number in a CoNLL file. By default it is detected."
    )
    tags_column: str | None = _argument(
        None, "Column of the tags or labelled mentions: its name, or its number in a CoNLL file. By default it is detected."
    )
    tag_names: str | None = _argument(None, "Names of the tags 0, 1, ..., such as `O,B-PER,I-PER`.")
    base_model: str = _argument(EMBEDDED_BASE, "Base LLM: `embedded/gemma-3-270m`, a Hub id or a folder.")
    base_revision: str | None = _argument(
        None, "Branch, tag or commit of a base LLM on the Hub. Default: the revision of the initial adapter, or the newest."
    )
    quantization: str | None = _argument(
        None,
        "Load the base LLM in `4bit` (NF4) or `8bit` with bitsandbytes, to save memory (QLoRA), or in `int8` on a CPU, which is "
        "faster with AVX-512 VNNI or AVX2 and otherwise saves memory only.",
    )
    init_adapter: str = _argument(
        "auto",
        "Initial adapter: a folder, a Hub repository (`owner/name@revision`), the language of a shipped adapter (`mul`, `de`), "
        "or `none` for random weights. `auto` is `mul` if that was trained on the same base LLM, and `none` otherwise.",
    )
    num_train_epochs: int | None = _argument(
        None, "Number of epochs. Default: 2, or more for few sentences, so that there are at least 60 optimizer steps."
    )
    max_steps: int | None = _argument(None, "Maximum number of optimizer steps. Default: no maximum.")
    early_stopping_patience: int = _argument(
        0,
        "Measure the validation F1 after each epoch, stop after this many epochs without a better one, and keep the adapter of "
        "the best epoch. With 0, F1 is measured once at the end and the last epoch is kept.",
    )
    learning_rate: float | None = _argument(
        None,
        "Peak learning rate, reached after the warmup; it then decays linearly to zero. Default: 1e-3. With an initial adapter "
        "it is lower (at least 3e-4) for fewer than 600 sentences, and 5e-4 if that adapter was trained on most of "
        "the sentences of the dataset.",
    )
    start_share: float | None = _argument(
        None,
        "Share of the initial adapter in the final weights, which are an average of the initial and the trained weights. "
        "Default: 0.5, less for fewer than 600 sentences, and 0 if the dataset has entity types that the initial adapter lacks. "
        "It is always 0.5 if the initial adapter was trained on most of the sentences.",
    )
    rank: int | None = _argument(
        None,
        "Rank of the LoRA on every linear layer. Default: that of the initial adapter, which cannot be changed (32 for `mul`), "
        "and 8 without one.",
    )
    lora_alpha: int | None = _argument(
        None,
        "LoRA updates are multiplied by `lora_alpha` / `rank`. Default: that of the initial adapter, which cannot be changed, "
        "and 16 without one.",
    )
    lora_dropout: float = _argument(0.0, "Dropout before the LoRA layers.")
    batch_size: int = _argument(8, "Maximum number of sentences in a batch, per process.")
    max_batch_tokens: int = _argument(
        4096,
        "Maximum number of tokens, including padding, that a process computes at once. Lower it if memory runs out: a batch is "
        "then computed in more parts, which changes nothing in the result except for dropout.",
    )
    gradient_accumulation_steps: int = _argument(1, "Number of batches per optimizer step.")
    gradient_checkpointing: bool = _argument(
        False,
        "Recompute activations in the backward pass instead of storing them: slower, with less memory. Only with tags_share=0.",
    )
    torch_compile: bool = _argument(
        False,
        "Compile the layers of the base LLM with torch.compile: the first steps take minutes longer, and later steps are "
        "faster. Requires a C++ compiler.",
    )
    warmup_ratio: float = _argument(0.06, "Share of the steps in which the learning rate rises to its peak.")
    max_grad_norm: float = _argument(1.0, "Maximum norm of the gradients; larger ones are clipped.")
    examples_share: float = _argument(
        0.5,
        "Share of samples with retrieved examples in the prompt. The others have the sentence alone, so that the adapter does "
        "not depend on examples.",
    )
    tags_share: float | None = _argument(
        None,
        "Share of samples that train tagging (all words in one forward pass); the others train generation (token by token). With "
        "1, the adapter cannot generate, so vLLM cannot use it; with 0, it cannot tag. Default: 0.75, or 0 with "
        "`gradient_checkpointing` or an initial adapter that cannot tag.",
    )
    empty_share: float = _argument(
        0.25,
        "Share of training sentences without an entity. If the dataset has fewer, sentences are added: parts of its sentences "
        "between entities, and sentences that are included in the package. 0 adds none.",
    )
    n_entities: int = _argument(6, "Maximum number of retrieved entities in a prompt.")
    n_sentences: int = _argument(2, "Maximum number of retrieved sentences in a prompt.")
    encoder_layer: int = _argument(12, "Hidden layer of the base LLM whose states are the sentence and word vectors.")
    max_train_samples: int | None = _argument(
        None, "Maximum number of training sentences, drawn from each dataset. Default: all."
    )
    max_index_examples: int | None = _argument(
        None, "Maximum number of training sentences in the index, drawn from each dataset. Default: all."
    )
    max_eval_samples: int = _argument(
        200, "Maximum number of validation sentences, drawn from each dataset. With 0, F1 is not measured."
    )
    shard_languages: bool = _argument(
        False,
        "With several languages: each process trains some of the languages, independently of the other processes. By default, "
        "all processes train one language together, then the next one. The default is faster only if each language has many "
        "sentences.",
    )
    seed: int = _argument(0, "Random seed of the sentences that are drawn, of their order and of the weights.")
    mixed_precision: str = _argument(
        "auto",
        "`no`, `bf16` or `fp16`. `auto` is bf16 on hardware that computes it natively; elsewhere Accelerate decides.",
    )
    save_steps: int = _argument(
        0, "Number of steps between checkpoints. With 0, one is written after each epoch. An interrupt always writes one."
    )
    overwrite: bool = _argument(
        False, "Replace an adapter that is already in `output_dir`, and restart an interrupted run from the beginning."
    )
    resume: bool = _argument(
        False, "Continue from the last checkpoint. Its folder has the name of `output_dir` and the suffix `.checkpoint`."
    )
    report_to: str = _argument(
        "none",
        "Tracker for loss and F1 that Accelerate supports: tensorboard, wandb, .... The folder of the logs has the name of "
        "`output_dir` and the suffix `.logs`.",
    )

    def __post_init__(self) -> None:
        """Checks the values before anything is loaded."""
        self._check_ranges()
        self._check_rank()
        self._check_languages()
        if self.early_stopping_patience and not self.max_eval_samples:
            raise InputError("`early_stopping_patience` needs validation sentences, and `max_eval_samples` is 0.")
        if self.gradient_checkpointing and self.tags_share:
            # It turns off the cache of keys and values, through which the words see the prefix of the prompt.
            raise InputError(
                "`gradient_checkpointing` does not work with tagging. Lower `max_batch_tokens` instead, or set tags_share=0."
            )

    def _check_ranges(self) -> None:
        for name, minimum in _MINIMA.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise InputError(f"{name} is {value}, but must be at least {minimum}.")
        if not 0 <= self.empty_share < 1:
            raise InputError(f"empty_share is {self.empty_share}, but must be at least 0 and below 1.")
        for name in ("examples_share", "tags_share", "start_share", "warmup_ratio", "lora_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}, but must be between 0 and 1.")
        if self.quantization not in (None, "4bit", "8bit", "int8"):
            raise InputError(f"quantization is {self.quantization!r}, but must be '4bit', '8bit' or 'int8'.")

    def _check_rank(self) -> None:
        if self.rank is None:
            return
        from ..model.configuration_retrieveall import RetrieveAllConfig  # slow to import

        if self.rank > (maximum := RetrieveAllConfig().max_rank):
            raise InputError(f"rank is {self.rank}, but must be at most {maximum}.")

    def _check_languages(self) -> None:
        from ..model.manifest import check_language  # slow to import, and a mistyped option is reported without it

        for name in ("language", "dataset"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InputTypeError(f"{name} is the string {value!r}, but must be a list, for example [{value!r}].")
            if not value:
                raise InputError(f"{name} is empty; it needs at least one value.")
        for language in self.language:
            check_language(language)
        count = len(self.language)
        if repeated := {language for language in self.language if self.language.count(language) > 1}:
            raise InputError(f"The language {min(repeated)} is given twice. Give its datasets to one run of that language alone.")
        if count > 1 and count != len(self.dataset):
            raise InputError(f"There are {count} languages and {len(self.dataset)} datasets; each language needs one dataset.")
        if self.overwrite and self.resume and count > 1:
            raise InputError(
                "`resume` and `overwrite` cannot be combined when training several languages. Use `resume` to keep finished "
                "languages, or `overwrite` to retrain all of them."
            )
        if self.shard_languages and count == 1:
            raise InputError(f"`shard_languages` needs several languages, but {self.language[0]} is the only one.")

    @property
    def language_code(self) -> str:
        """The language of a run of one language."""
        (code,) = self.language
        return code

    def columns(self) -> ColumnNames:
        """The columns of the datasets."""
        return ColumnNames.from_options(self.tokens_column, self.tags_column, self.tag_names)

    def epochs_for(self, sentences: int, processes: int = 1) -> int:
        """``num_train_epochs``, or the default for a number of training sentences.

        Args:
            sentences: Number of training sentences.
            processes: Number of processes that share them.

        >>> AdapterTrainingArguments(["sw"], ["examples/sentences/sw.conll"], "runs/sw").epochs_for(600)
        2
        """
        if self.num_train_epochs is not None:
            return self.num_train_epochs
        steps_per_epoch = max(1, math.ceil(sentences / (self.batch_size * self.gradient_accumulation_steps * processes)))
        return max(_MIN_EPOCHS, math.ceil(_MIN_STEPS / steps_per_epoch))

    def decodings(self) -> list[Decoding]:
        """The decodings that are trained, the preferred one first.

        >>> AdapterTrainingArguments(["sw"], ["sw.conll"], "runs/sw", tags_share=1).decodings()
        ['tags']
        """
        tags = self.tags_share or 0.0
        shares: dict[Decoding, float] = {"tags": tags, "generation": 1 - tags}
        return [decoding for decoding in DECODINGS if shares[decoding]]

    def fixed_settings(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the interrupted one.

        >>> AdapterTrainingArguments(["sw"], ["sw.conll"], "runs/sw").fixed_settings()["n_entities"]
        6
        """
        fixed = {name: value for name, value in asdict(self).items() if name not in _CHANGEABLE_ON_RESUME}
        return {**fixed, "rank": self.rank or DEFAULT_RANK, "lora_alpha": self.lora_alpha or DEFAULT_LORA_ALPHA}

    def per_language(self) -> list["AdapterTrainingArguments"]:
        """The arguments of each language's run; for one language, these arguments."""
        if len(self.language) == 1:
            return [self]
        return [
            replace(
                self, language=[language], dataset=[dataset], output_dir=f"{self.output_dir}/{language}", shard_languages=False
            )
            for language, dataset in zip(self.language, self.dataset, strict=True)
        ]


_CHANGEABLE_ON_RESUME = {
    # These do not change the steps of a run, their order or the choice among its epochs.
    *("output_dir", "overwrite", "resume", "report_to", "save_steps", "gradient_checkpointing", "start_share"),
    *("max_batch_tokens", "torch_compile"),
    # A checkpoint stores what these refer to (sentences and commit), and that is compared instead.
    *("dataset", "tokens_column", "tags_column", "tag_names", "base_revision"),
}

_MINIMA: dict[str, float] = {
    "num_train_epochs": 0,
    "max_steps": 1,
    "early_stopping_patience": 0,
    "learning_rate": 0,
    "rank": 1,
    "lora_alpha": 1,
    "batch_size": 1,
    "max_batch_tokens": 1,
    "gradient_accumulation_steps": 1,
    "n_entities": 0,
    "n_sentences": 0,
    "encoder_layer": 0,
    "max_train_samples": 1,
    "max_index_examples": 1,
    "max_eval_samples": 0,
    "save_steps": 0,
}
