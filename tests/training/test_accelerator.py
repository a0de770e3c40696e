"""The default precision depends on the hardware."""

import pytest
import torch

from modeling_retrieveall.model.base_llm import native_dtype
from modeling_retrieveall.training.accelerator import resolve_precision


@pytest.mark.parametrize(("has_amx", "dtype", "mixed"), [(True, torch.bfloat16, "bf16"), (False, torch.float32, None)])
def test_a_cpu_uses_bfloat16_only_with_amx(
    has_amx: bool, dtype: torch.dtype, mixed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    # Some CPUs support bfloat16 without AMX, but are slower with it than with float32.
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert native_dtype() is dtype
    assert resolve_precision("auto") == mixed
