"""The bank computes the same as PEFT for every row, and does not change the base LLM otherwise."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from modeling_retrieveall.model.lora_bank import LoraBank, LoraWeights, _Stack
from modeling_retrieveall.model.lora_files import read_lora
from tests.conftest import write_tiny_base

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
    """The same adapters twice: in PEFT, and in a bank over another copy of the base LLM."""

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
        bank.load(name, read_lora(folder / name, torch.float32))
    return Pair(peft.eval(), base, bank)


@torch.no_grad()
def peft_logits(peft: PeftModel, mixture: dict[str, float], ids: Tensor) -> Tensor:
    """The output of PEFT for one row. PEFT concatenates a mixture into one adapter, which is the weighted sum of its adapters."""
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
    bank.load("de", read_lora(tmp_path, torch.float32))
    with torch.no_grad(), bank.rows([{"de": 1.0}]):
        assert relative_error(base(IDS[:1]).logits, peft(IDS[:1]).logits) <= 1e-4


class TwoLayers(nn.Module):
    """A minimal base LLM with two linear layers of different shapes."""

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
    """The output of a base LLM with the mixture merged into its weights."""
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
    """An adapter for both layers."""
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


def test_the_least_recently_used_adapter_is_evicted_first(base: TwoLayers) -> None:
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


def test_unloading_an_adapter_twice_is_not_an_error(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("de", weights())
    bank.unload("de")
    bank.unload("de")
    with pytest.raises(KeyError, match="de"), bank.rows([{"de": 1.0}]):
        pass


def test_outside_of_rows_the_base_is_bit_for_bit_unchanged(base: TwoLayers) -> None:
    x = torch.ones(2, 3, 6)
    bare = base(x)
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}, {"de": 1.0}]):
        assert not torch.allclose(base(x), bare)
    assert torch.equal(base(x), bare)


def test_after_an_exception_inside_rows_the_base_is_unchanged(base: TwoLayers) -> None:
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
def test_nested_rows_are_refused(base: TwoLayers, outer: dict[str, float]) -> None:
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([outer]), pytest.raises(RuntimeError, match="is active"), bank.rows([{"de": 1.0}]):
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
def test_weights_that_do_not_fit_are_refused_without_any_change(
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


# Slots


def test_the_least_recently_used_adapter_leaves(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("mul", weights())
    for name in ("de", "en", "sw"):
        with bank.rows([{"mul": 1.0}]):
            pass
        bank.load(name, weights())
        assert bank.resident == ["mul", name]
    with pytest.raises(ValueError, match="at least 1"):
        LoraBank(base, slots=0)


def test_adapters_cannot_be_loaded_or_unloaded_while_rows_are_active(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}]):
        with pytest.raises(RuntimeError, match="is active"):
            bank.load("en", weights())
        with pytest.raises(RuntimeError, match="is active"):
            bank.unload("de")
    assert bank.resident == ["de"]


def test_the_previous_adapter_of_a_slot_leaves_no_trace(base: TwoLayers) -> None:
    x = torch.randn(2, 3, 6)
    bank = LoraBank(base, slots=1)
    only_up = LoraWeights({"up": torch.ones(1, 6)}, {"up": torch.ones(9, 1)}, {"up": 1.0})
    bank.load("en", only_up)
    with bank.rows([{"en": 1.0}, {}]):
        fresh = base(x)
    bank.load("de", weights(rank=5, value=float("inf")))
    bank.load("en", only_up)
    with bank.rows([{"en": 1.0}, {}]):
        assert torch.equal(base(x), fresh)


def test_an_adapter_of_a_higher_rank_does_not_change_the_others_by_one_bit(base: TwoLayers) -> None:
    x = torch.randn(1, 3, 6)
    bank = LoraBank(base, slots=2)
    torch.manual_seed(4)
    random = LoraWeights({"up": torch.randn(2, 6)}, {"up": torch.randn(9, 2)}, {"up": 0.7})
    bank.load("de", random)
    with bank.rows([{"de": 1.0}]):
        before = base(x)
    bank.load("en", weights(rank=5))
    with bank.rows([{"de": 1.0}]):
        assert torch.equal(base(x), before)


def test_a_failed_load_does_not_change_the_other_adapters(base: TwoLayers, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 3, 6)
    bank = LoraBank(base, slots=2)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}]):
        before = base(x)

    def no_memory(*args: Any) -> None:
        raise RuntimeError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr("modeling_retrieveall.model.lora_bank._Stack.put", no_memory)
        with pytest.raises(RuntimeError, match="memory"):
            bank.load("en", weights())
    assert bank.resident == ["de"]
    with bank.rows([{"de": 1.0}]):
        assert torch.equal(base(x), before)
    bank.load("en", weights())
    assert bank.resident == ["de", "en"]


def test_weights_of_an_adapter_that_failed_to_load_are_cleared(base: TwoLayers, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 3, 6)
    only_down = LoraWeights({"down": torch.ones(1, 9)}, {"down": torch.ones(4, 1)}, {"down": 1.0})
    bank = LoraBank(base, slots=1)
    bank.load("en", weights())
    bank.unload("en")
    put, calls = _Stack.put, iter([False, True])

    def fails_the_second_time(self: _Stack, *args: Any) -> None:
        if next(calls, False):
            raise RuntimeError("CUDA out of memory.")
        put(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(_Stack, "put", fails_the_second_time)
        with pytest.raises(RuntimeError, match="memory"):
            bank.load("de", weights())
    bank.load("ru", only_down)
    with bank.rows([{"ru": 1.0}]):
        ours = base(x)
    torch.testing.assert_close(ours, merged_output(base, {"ru": only_down}, {"ru": 1.0}, x))


def test_more_adapters_than_slots_are_refused_before_any_is_loaded(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=2)
    bank.load("mul", weights())
    with pytest.raises(ValueError, match="adapter_slots"):
        bank.make_resident(["de", "ru", "en"], lambda name: weights())
    assert bank.resident == ["mul"]


# Rows


def test_remaining_rows_keep_their_adapters(base: TwoLayers) -> None:
    x = torch.randn(3, 2, 6)
    bank = LoraBank(base, slots=2)
    bank.load("de", weights(value=1.0))
    bank.load("en", weights(value=-0.5))
    with bank.rows([{"de": 1.0}, {}, {"en": 0.3, "de": 0.7}]) as rows:
        all_of_them = base(x)
        rows.keep([2, 0])
        torch.testing.assert_close(base(x[[2, 0]]), all_of_them[[2, 0]])


def test_a_batch_of_another_size_than_the_rows_is_an_error(base: TwoLayers) -> None:
    bank = LoraBank(base, slots=1)
    bank.load("de", weights())
    with bank.rows([{"de": 1.0}] * 2), pytest.raises(ValueError, match=r"bank\.rows has 2 rows"):
        base(torch.ones(3, 1, 6))


# Layers of other kinds


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_full_precision(base: TwoLayers, dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    loaded = {"de": LoraWeights({"up": torch.randn(3, 6)}, {"up": torch.randn(9, 3)}, {"up": 0.5})}
    x = torch.randn(2, 3, 6)
    exact = merged_output(base, loaded, {"de": 1.0}, x)
    half = base.to(dtype)
    bank = LoraBank(half, slots=1)
    bank.load("de", LoraWeights({"up": loaded["de"].a["up"].to(dtype)}, {"up": loaded["de"].b["up"].to(dtype)}, {"up": 0.5}))
    with bank.rows([{"de": 1.0}] * 2):
        ours = half(x.to(dtype))
    assert ours.dtype == dtype
    assert relative_error(ours.float(), exact) < 0.03


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_layers_give_the_output_of_peft(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install -e '.[quantization]'")
    wide_base = write_tiny_base(tmp_path / "base", hidden=64)  # bitsandbytes quantises in blocks of 64
    arguments: dict[str, Any] = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}

    def quantised() -> PreTrainedModel:
        config = BitsAndBytesConfig(**arguments)
        return AutoModelForCausalLM.from_pretrained(wide_base, quantization_config=config, dtype=torch.float32).eval()

    torch.manual_seed(6)
    peft = get_peft_model(quantised(), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **CONFIGS["wide"])).eval()
    peft.save_pretrained(tmp_path)
    base = quantised()
    bank = LoraBank(base, slots=1)
    bank.load("de", read_lora(tmp_path, torch.float32))
    with torch.no_grad():
        theirs = peft(IDS).logits
        with bank.rows([{"de": 1.0}] * len(IDS)):
            ours = base(IDS).logits
        with bank.rows([{}] * len(IDS)):
            bare = base(IDS).logits
    assert relative_error(ours, theirs) <= 1e-4
    assert relative_error(bare, theirs) > 1e-2


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_a_split_and_offloaded_base_gives_the_output_of_a_whole_one(
    tiny_base: Path, tmp_path: Path, pair: Pair, place: str
) -> None:
    device_map = {
        "model.embed_tokens": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": place,
        "model.norm": place,
        "model.rotary_emb": "cpu",
        "lm_head": place,
    }
    base = AutoModelForCausalLM.from_pretrained(tiny_base, device_map=device_map, offload_folder=str(tmp_path)).eval()
    bank = LoraBank(base, slots=1)
    pair.peft.save_pretrained(tmp_path, selected_adapters=["wide"])
    bank.load("wide", read_lora(tmp_path / "wide", torch.float32))
    with torch.no_grad(), bank.rows([{"wide": 1.0}] * len(IDS)):
        ours = base(IDS).logits
    torch.testing.assert_close(ours, bank_logits(pair, [{"wide": 1.0}] * len(IDS)), rtol=1e-5, atol=1e-5)
