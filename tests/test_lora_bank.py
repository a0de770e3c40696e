"""The bank computes what PEFT computes, row by row, and leaves the base alone otherwise."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from modeling_retrieveall.language_adapter import read_lora_weights
from modeling_retrieveall.lora_bank import LoraBank, LoraWeights

# No adapter may be named like a module ("mlp"): PEFT would confuse the two when it saves them.
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS: dict[str, dict[str, Any]] = {
    "small": {"r": 1, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"]},
    "wide": {"r": 8, "lora_alpha": 16, "target_modules": MATRICES},
    "feedforward": {"r": 5, "lora_alpha": 2, "target_modules": ["gate_proj", "down_proj"]},
    "stabilised": {"r": 4, "lora_alpha": 8, "target_modules": MATRICES, "use_rslora": True},
    "patterned": {
        "r": 4, "lora_alpha": 8, "target_modules": MATRICES,
        "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 20, "layers.1.mlp.up_proj": 1},
    },
}  # fmt: skip
IDS = torch.tensor([[1, 10, 20, 30, 40], [1, 11, 21, 31, 41], [1, 12, 22, 32, 42], [1, 13, 23, 33, 43]])


class Pair(NamedTuple):
    """The same adapters twice: in PEFT, and in a bank over a base of its own."""

    peft: PeftModel
    base: PreTrainedModel
    bank: LoraBank


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module")
def pair(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    torch.manual_seed(1)
    configs = {n: LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **c) for n, c in CONFIGS.items()}
    peft = get_peft_model(load(tiny_base), configs["small"], adapter_name="small")
    for name in list(configs)[1:]:
        peft.add_adapter(name, configs[name])
    folder = tmp_path_factory.mktemp("peft")
    peft.save_pretrained(folder)
    base = load(tiny_base)
    bank = LoraBank(base, slots=len(CONFIGS))
    for name in CONFIGS:
        bank.load(name, read_lora_weights(folder / name, torch.float32))
    return Pair(peft.eval(), base, bank)


@torch.no_grad()
def peft_logits(peft: PeftModel, mixture: dict[str, float], ids: Tensor) -> Tensor:
    """What PEFT gives for one row; a mixture is concatenated into one adapter, which PEFT defines as their weighted sum."""
    if not mixture:
        with peft.disable_adapter():
            return peft(ids[None]).logits[0]
    if mixture == dict.fromkeys(mixture, 1.0) and len(mixture) == 1:
        peft.set_adapter(next(iter(mixture)))
        return peft(ids[None]).logits[0]
    peft.add_weighted_adapter(list(mixture), list(mixture.values()), "mixture", combination_type="cat")
    peft.set_adapter("mixture")
    logits = peft(ids[None]).logits[0]
    peft.set_adapter(next(iter(mixture)))
    peft.delete_adapter("mixture")
    return logits


@torch.no_grad()
def bank_logits(pair: Pair, mixtures: Sequence[dict[str, float]]) -> Tensor:
    with pair.bank.rows(mixtures):
        return pair.base(IDS[: len(mixtures)]).logits


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_row_with_one_adapter_equals_peft(pair: Pair, name: str) -> None:
    theirs = peft_logits(pair.peft, {name: 1.0}, IDS[0])
    assert relative_error(bank_logits(pair, [{name: 1.0}])[0], theirs) <= 1e-4
    assert relative_error(peft_logits(pair.peft, {}, IDS[0]), theirs) > 1e-2  # or the adapter would prove nothing


@pytest.mark.parametrize(
    "mixture",
    [{"small": 0.5, "wide": 0.5}, {"wide": 0.7, "feedforward": 0.3}, {"small": 0.2, "feedforward": 0.3, "stabilised": 0.5}],
)
def test_a_row_with_several_adapters_is_their_weighted_sum(pair: Pair, mixture: dict[str, float]) -> None:
    assert relative_error(bank_logits(pair, [mixture])[0], peft_logits(pair.peft, mixture, IDS[0])) <= 1e-4


def test_every_row_of_a_mixed_batch_gets_its_own_adapters(pair: Pair) -> None:
    mixtures: list[dict[str, float]] = [{"wide": 1.0}, {}, {"wide": 0.4, "feedforward": 0.6}, {"small": 1.0}]
    ours = bank_logits(pair, mixtures)
    for row, mixture in enumerate(mixtures):
        assert relative_error(ours[row], peft_logits(pair.peft, mixture, IDS[row])) <= 1e-4


def test_an_alpha_pattern_is_a_regular_expression_and_the_first_match_counts(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    patterns = {r"layers\.[01]\.self_attn\.(q|k)_proj": 32, "q_proj": 1}
    config = LoraConfig(
        task_type="CAUSAL_LM", init_lora_weights=False, r=4, lora_alpha=4, target_modules=MATRICES, alpha_pattern=patterns
    )
    peft = get_peft_model(load(tiny_base), config).eval()
    peft.save_pretrained(tmp_path)
    base = load(tiny_base)
    bank = LoraBank(base, slots=1)
    bank.load("de", read_lora_weights(tmp_path, torch.float32))
    with torch.no_grad(), bank.rows([{"de": 1.0}]):
        assert relative_error(base(IDS[:1]).logits, peft(IDS[:1]).logits) <= 1e-4


class TwoLayers(nn.Module):
    """The smallest base that has two linear layers of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 9), nn.Linear(9, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(x)))


SHAPES = {"up": (6, 9), "down": (9, 4)}


@st.composite
def adapters(draw: st.DrawFn) -> LoraWeights:
    modules = draw(st.sampled_from([("up",), ("down",), ("up", "down")]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    ranks = {module: draw(st.integers(1, 5)) for module in modules}
    return LoraWeights(
        {m: torch.randn(ranks[m], SHAPES[m][0], generator=generator) for m in modules},
        {m: torch.randn(SHAPES[m][1], ranks[m], generator=generator) for m in modules},
        {m: draw(st.sampled_from([0.5, 1.0, 2.0])) for m in modules},
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, LoraWeights], list[dict[str, float]]]:
    names = draw(st.lists(st.sampled_from(["de", "en", "mul", "sw"]), min_size=1, unique=True))
    weights = st.floats(0, 1, width=32)
    rows = draw(st.lists(st.dictionaries(st.sampled_from(names), weights), min_size=1, max_size=5))
    return {name: draw(adapters()) for name in names}, rows


def merged_output(base: TwoLayers, loaded: dict[str, LoraWeights], mixture: dict[str, float], x: Tensor) -> Tensor:
    """What a base gives into whose weights the mixture has been multiplied."""
    merged = TwoLayers()
    merged.load_state_dict(base.state_dict())
    for name, share in mixture.items():
        for module, a in loaded[name].a.items():
            merged.get_submodule(module).weight += share * loaded[name].scaling[module] * loaded[name].b[module] @ a
    return merged(x)


@given(batches(), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
@torch.no_grad()
def test_rows_equal_merged_weights_for_any_ranks_and_rows(
    batch: tuple[dict[str, LoraWeights], list[dict[str, float]]], seed: int
) -> None:
    loaded, mixtures = batch
    torch.manual_seed(seed)
    base, x = TwoLayers(), torch.randn(len(mixtures), 3, 6)
    bank = LoraBank(base, slots=4)
    for name, weights in loaded.items():
        bank.load(name, weights)
    with bank.rows(mixtures):
        ours = base(x)
    theirs = torch.stack([merged_output(base, loaded, m, row) for m, row in zip(mixtures, x, strict=True)])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def weights(rank: int = 2, value: float = 1.0) -> LoraWeights:
    """An adapter of the two layers."""
    return LoraWeights(
        {m: torch.full((rank, i), value) for m, (i, _) in SHAPES.items()},
        {m: torch.full((o, rank), value) for m, (_, o) in SHAPES.items()},
        dict.fromkeys(SHAPES, 1.0),
    )


@pytest.fixture
def base() -> Iterator[TwoLayers]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield TwoLayers()


def test_the_least_recently_used_adapter_leaves_first(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("de", weights())
    bank.load("en", weights())
    with bank.rows([{"de": 1.0}]):
        pass
    bank.load("sw", weights())
    assert bank.resident == ["de", "sw"] and "en" not in bank


def test_loading_a_name_again_replaces_its_weights(base: TwoLayers) -> None:
    bank, x = LoraBank(base, slots=2), torch.ones(1, 1, 6)
    bare = base(x)
    bank.load("de", weights(value=1.0))
    bank.load("de", weights(value=0.0))
    with bank.rows([{"de": 1.0}]):
        assert torch.equal(base(x), bare)
    assert bank.resident == ["de"]


def test_an_unloaded_adapter_is_gone_and_unloading_it_again_is_no_error(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("de", weights())
    bank.unload("de")
    bank.unload("de")
    with pytest.raises(KeyError, match="de"), bank.rows([{"de": 1.0}]):
        pass


def test_outside_of_rows_the_base_computes_bit_for_bit_as_without_a_bank(base: TwoLayers) -> None:
    x = torch.ones(2, 3, 6)
    bare = base(x)
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}, {"de": 1.0}]):
        assert not torch.allclose(base(x), bare)
    assert torch.equal(base(x), bare)


def test_after_an_exception_inside_rows_the_base_computes_as_before(base: TwoLayers) -> None:
    x = torch.ones(2, 3, 6)
    bare = base(x)
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with pytest.raises(RuntimeError), bank.rows([{"de": 1.0}, {}]):
        base(torch.ones(2, 3, 5))
    assert torch.equal(base(x), bare)
    with bank.rows([{"de": 1.0}, {}]):
        assert torch.equal(base(x)[1], bare[1])


@pytest.mark.parametrize("outer", [{"de": 1.0}, {}], ids=["an adapter", "the bare base"])
def test_rows_within_rows_are_refused(base: TwoLayers, outer: dict[str, float]) -> None:
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([outer]), pytest.raises(RuntimeError, match="in force"), bank.rows([{"de": 1.0}]):
        pass


@pytest.mark.parametrize(
    ("module", "a", "b"),
    [
        ("up", (2, 5), (9, 2)),
        ("up", (2, 6), (8, 2)),
        ("up", (2, 6), (9, 3)),
        ("up", (6,), (9,)),
        ("sideways", (2, 6), (9, 2)),
        ("", (2, 6), (9, 2)),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_changes(
    base: TwoLayers, module: str, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    x = torch.ones(1, 1, 6)
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}]):
        before = base(x)
    fitting = weights()
    bad = LoraWeights(
        {**fitting.a, module: torch.ones(a)}, {**fitting.b, module: torch.ones(b)}, {**fitting.scaling, module: 1.0}
    )
    for name in ("de", "en"):
        with pytest.raises(ValueError, match=repr(module)):
            bank.load(name, bad)
    assert bank.resident == ["de"]
    with bank.rows([{"de": 1.0}]):
        assert torch.equal(base(x), before)
