"""Copied, pickled and forked models give the results of the original, and no process hangs."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeling_retrieveall import RetrieveAllConfig, RetrieveAllModel
from modeling_retrieveall.model.hub_files import Hub
from tests.random_adapters import copy_with_random_weights, write_random_adapters
from tests.scripts import run_script

TEXTS = ["Angela Merkel besuchte Nairobi.", "Ada Lovelace lived in London. Graz liegt an der Mur."]


@pytest.fixture(scope="module")
def folder(tiny_adapter: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapters(tmp_path_factory.mktemp("adapters"), tiny_adapter)


@pytest.fixture(scope="module")
def model(folder: Path) -> RetrieveAllModel:
    return RetrieveAllModel.from_pretrained(folder, n_sentences=1)


def saved_by_torch(model: RetrieveAllModel, folder: Path) -> RetrieveAllModel:
    torch.save(model, folder / "model.pt")
    again: RetrieveAllModel = torch.load(folder / "model.pt", weights_only=False)
    return again


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "torch"])
def test_a_copy_gives_the_same_results_and_is_independent(model: RetrieveAllModel, how: str, tmp_path: Path) -> None:
    ways = {
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "deepcopy": lambda: copy.deepcopy(model),
        "torch": lambda: saved_by_torch(model, tmp_path),
    }
    again = ways[how]()
    assert again.extract(TEXTS) == model.extract(TEXTS)
    assert again.languages == model.languages and again.config.n_sentences == 1 and not again.training
    again.remove_language("en")
    assert "en" in model.languages


def test_a_copy_has_the_changes_made_after_loading(
    folder: Path, tiny_adapter: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    model = RetrieveAllModel.from_pretrained(".", languages=["de"], dtype="bfloat16")
    model.add_language(copy_with_random_weights(tiny_adapter("en"), tmp_path / "en", 7))
    model.config.change({"max_distance": 1.5})
    expected, stored = model.extract(TEXTS), pickle.dumps(model)
    assert len(stored) < 10_000
    monkeypatch.chdir(tmp_path)  # relative names of folders are those of the process that stored them
    again = pickle.loads(stored)
    assert again.extract(TEXTS) == expected
    assert again.base.dtype == torch.bfloat16 and again.config.max_distance == 1.5
    assert pickle.loads(pickle.dumps(again.to(torch.float32))).base.dtype == torch.float32


def test_a_model_of_remote_code_can_be_sent_to_another_process(model: RetrieveAllModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    script = """
        import multiprocessing, sys
        from transformers import AutoModel

        def found(model):
            return model.extract("Angela Merkel besuchte Nairobi.")

        if __name__ == "__main__":
            model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True, dtype="float32")
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(found, [model]) == found(model)
    """
    run_script(script, tmp_path, tmp_path / "saved")


def test_a_model_that_cannot_be_reloaded_raises_a_helpful_error(model: RetrieveAllModel, folder: Path, tiny_base: Path) -> None:
    base, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(tiny_base)
    with pytest.raises(TypeError, match=r"built from a base LLM in memory.*RetrieveAllModel\.from_pretrained"):
        copy.deepcopy(RetrieveAllModel(RetrieveAllConfig(encoder_layer=1), base, tokenizer))
    served = copy.deepcopy(model)
    served.use_backend(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="choose the backend there"):
        pickle.dumps(served)


def test_a_token_is_not_pickled() -> None:
    hub = Hub(token="hf_secret", local_files_only=True)
    assert b"hf_secret" not in pickle.dumps(hub)
    assert pickle.loads(pickle.dumps(hub)) == Hub(local_files_only=True)
    assert copy.deepcopy(hub).token == "hf_secret"
    assert pickle.loads(pickle.dumps(Hub(token=False))).token is False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_processes_and_data_loader_workers_can_extract(folder: Path, tmp_path: Path) -> None:
    script = """
        import os, sys
        from dataclasses import replace
        from itertools import chain
        import torch
        from torch.utils.data import DataLoader, Dataset
        from modeling_retrieveall import RetrieveAllModel

        class Extracted(Dataset):
            def __len__(self):
                return len(texts)

            def __getitem__(self, i):
                return model.extract(texts[i]).entities

        model = RetrieveAllModel.from_pretrained(sys.argv[1])
        texts = ["Angela Merkel besuchte Nairobi.", "Bonn", "Graz liegt an der Mur."]
        torch.randn(1 << 22).sin()  # starts the threads of OpenMP, as a larger base LLM does
        here = [model.extract(text).entities for text in texts]

        def without_scores(results):
            return [[replace(entity, score=1.0) for entity in entities] for entities in results]

        def is_like_here(results):  # forked processes have one thread, which changes the last digits of scores on some CPUs
            differences = [abs(one.score - other.score) for one, other in zip(chain(*results), chain(*here))]
            return without_scores(results) == without_scores(here) and all(each < 1e-5 for each in differences)

        if (child := os.fork()) == 0:
            torch.randn(1 << 22).sin()
            os._exit(0 if is_like_here([model.extract(text).entities for text in texts]) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert is_like_here(list(DataLoader(Extracted(), batch_size=None, num_workers=2, multiprocessing_context="fork")))
        assert torch.get_num_threads() == 2 and model.extract(texts)
    """
    run_script(script, tmp_path, folder)
