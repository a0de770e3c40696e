"""The precision that suits the hardware."""

import pytest
import torch

from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.training.device_info import precision


@pytest.mark.parametrize(("has_amx", "dtype", "mixed"), [(True, torch.bfloat16, "bf16"), (False, torch.float32, None)])
def test_a_cpu_computes_in_bfloat16_with_amx_alone(
    has_amx: bool, dtype: torch.dtype, mixed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    # Some CPUs multiply bfloat16 without AMX, more slowly than float32.
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert native_dtype() is dtype
    assert precision("auto") == mixed
