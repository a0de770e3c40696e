"""A published adapter loads in plain PEFT and follows the documented rules of vLLM."""

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import PeftModel
from safetensors import safe_open

from modeling_retrieveall import LanguageAdapter, RetrieveAllModel
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.model.base_llm import load_base
from modeling_retrieveall.model.model_source import SHIPPED, resolve_model
from tests.local_hub import LocalHub

ADAPTERS = resolve_model(SHIPPED).adapters
TENSOR = re.compile(
    r"base_model\.model\.model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.lora_[AB]\.weight"
)
# vLLM 0.33: lora/peft_helper.py (_validate_features and __post_init__), config/lora.py (MaxLoRARanks).
MUST_BE_FALSE = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora")
HIGHEST_RANK = 512


def test_an_adapter_in_bare_peft_gives_the_same_logits(hub: LocalHub, embedded_base: str) -> None:
    commit = push_adapter(ADAPTERS["de"], "ann/retrieveall-de").commit
    model = RetrieveAllModel.from_pretrained("ann/retrieveall-de")
    prompt = model.extract("Angela Merkel besuchte Nairobi.", language="de", details=True).sentences[0].details.prompt_ids
    ids = torch.tensor([prompt])
    with torch.no_grad():
        with model.bank.rows([{"de": 1.0}]):
            ours = model.base(ids).logits
        base, _ = load_base(embedded_base)
        peft = PeftModel.from_pretrained(base, "ann/retrieveall-de", revision=commit, cache_dir=constants.HF_HOME + "/peft")
        theirs = peft(ids).logits
    assert (ours - theirs).abs().max() / theirs.abs().max() <= 1e-4


@pytest.mark.parametrize("language", sorted(ADAPTERS))
def test_a_copy_of_an_adapter_follows_the_rules_of_vllm(language: str, tmp_path: Path) -> None:
    folder = tmp_path / LanguageAdapter.load(ADAPTERS[language]).copy_to(tmp_path, language)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["peft_type"], config["bias"], config["modules_to_save"]) == ("LORA", "none", None)
    assert not any(config.get(name) for name in MUST_BE_FALSE)
    assert config["init_lora_weights"] is True and config["base_model_name_or_path"] == "google/gemma-3-270m"
    assert not config["rank_pattern"] and not config["alpha_pattern"] and not config["use_rslora"]
    assert 0 < config["r"] <= HIGHEST_RANK and config["lora_alpha"] and config["target_modules"]
    with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
        names = list(tensors.keys())
        assert len(names) == 18 * 7 * 2 and all(TENSOR.fullmatch(name) for name in names)
        # vLLM copies what it is given: it would take a tensor of another rank than `r` without a word.
        for name in names:
            rank = tensors.get_slice(name).get_shape()["lora_B" in name]
            assert rank == config["r"], name
