"""Linear layers in int8: close to the exact product, rows without influence on each other, and a gradient."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from modeling_retrieveall import AdapterTrainingArguments, InputError, LanguageAdapter, RetrieveAllModel, train
from modeling_retrieveall.model.base_llm import load_base, quantization_arguments, quantization_of
from modeling_retrieveall.model.int8_linear import Int8Linear, quantize_linear_layers
from tests.conftest import SENTENCES

rows, sizes = st.integers(1, 100), st.integers(16, 40)


@pytest.fixture(params=["vnni", "avx2", "other"])
def _cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes with the kernel of another CPU, if this one has it."""
    if request.param == "avx2" and not torch.cpu._is_avx2_supported():
        pytest.skip("This CPU has no AVX2.")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: request.param == "vnni")
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: request.param == "avx2")


every_cpu = pytest.mark.usefixtures("_cpu")
shared_by_examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def layers(inputs: int, outputs: int, seed: int) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(seed)
    exact = nn.Linear(inputs, outputs, bias=False)
    return exact, Int8Linear(exact)


@every_cpu
@shared_by_examples
@given(rows, sizes, sizes, st.integers(0, 1000), st.floats(0.001, 1000))
def test_the_product_is_close_to_that_of_float32(rows: int, inputs: int, outputs: int, seed: int, scale: float) -> None:
    exact, quantized = layers(inputs, outputs, seed)
    x = scale * torch.randn(rows, inputs)
    # Each factor is off by at most half a step, which is 1/127 of the largest value of its row, or 1/63 for weights with AVX2.
    largest_x, largest_w = x.abs().amax(1, keepdim=True), exact.weight.abs().amax(1)
    bound = inputs * largest_x * largest_w * (0.51 / 127 + 0.51 / 63)
    assert ((quantized(x) - exact(x)).abs() <= bound + 1e-6 * scale).all()


@every_cpu
@shared_by_examples
@given(st.lists(st.floats(0.001, 10_000), min_size=1, max_size=6), st.integers(0, 1000))
def test_rows_do_not_affect_one_another(scales: list[float], seed: int) -> None:
    _, quantized = layers(16, 8, seed)
    x = torch.tensor(scales)[:, None] * torch.randn(len(scales), 16)
    together = quantized(x[None])[0]
    for row, alone in enumerate(x):
        assert torch.equal(quantized(alone), together[row])


@every_cpu
def test_the_largest_values_do_not_overflow() -> None:
    linear = nn.Linear(64, 16, bias=False)
    nn.init.ones_(linear.weight)
    torch.testing.assert_close(Int8Linear(linear)(torch.ones(70, 64)), torch.full((70, 16), 64.0))


@every_cpu
def test_a_row_of_zeros_gives_zeros() -> None:
    _, quantized = layers(16, 8, 0)
    assert not quantized(torch.zeros(3, 16)).any()


@every_cpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_close_to_that_of_float32(dtype: torch.dtype) -> None:
    exact, quantized = layers(64, 48, 0)
    gradients = []
    for layer in (exact.to(dtype), quantized):
        x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        (layer(x).float() ** 2).sum().backward()
        gradients.append(x.grad.float())  # type: ignore[union-attr]
    assert (gradients[0] - gradients[1]).norm() <= 0.03 * gradients[0].norm()


def test_layers_with_a_bias_and_tiny_layers_stay() -> None:
    module = nn.Sequential(nn.Linear(16, 16), nn.Sequential(nn.Linear(16, 16, bias=False)), nn.Linear(1, 16, bias=False))
    assert quantize_linear_layers(module) == 1
    assert [type(layer) for layer in (module[0], module[1][0], module[2])] == [nn.Linear, Int8Linear, nn.Linear]  # type: ignore[index]


def test_a_base_llm_is_quantized_when_it_is_loaded(tiny_base: Path) -> None:
    ids = torch.arange(6)[None]
    base, _ = load_base(str(tiny_base))
    quantized, _ = load_base(str(tiny_base), **quantization_arguments("int8"))
    assert (quantization_of(base), quantization_of(quantized)) == (None, "int8")
    torch.testing.assert_close(quantized(ids).logits, base(ids).logits, atol=0.05, rtol=0.05)


def test_int8_needs_a_cpu_and_linear_layers(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(InputError, match="which is for CPUs, but the base LLM is on meta"):
        load_base(str(tiny_base), device_map={"": "meta"}, int8=True)
    with pytest.raises(InputError, match="give 4bit, 8bit or int8"):
        quantization_arguments("2bit")


def test_a_model_in_int8_extracts_and_an_adapter_is_trained_on_it(
    tiny_adapter: Callable[[str], Path], tiny_base: Path, tmp_path: Path
) -> None:
    model = RetrieveAllModel.from_pretrained(tiny_adapter("de"), quantization="int8")
    assert model.extract("Angela Merkel besuchte Nairobi.", language="de").sentences
    arguments = AdapterTrainingArguments(
        ["sw"], [str(SENTENCES / "sw.conll")], str(tmp_path / "sw"), base_model=str(tiny_base), encoder_layer=1,
        quantization="int8", max_steps=2, max_train_samples=16, max_eval_samples=2, init_adapter="none", mixed_precision="no",
    )  # fmt: skip
    assert LanguageAdapter.load(train(arguments)).manifest.training["quantization"] == "int8"
