"""A model repository works with three lines of code if only the declared dependencies are installed, not this package."""

import json
import os
import re
import subprocess
import sys
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from huggingface_hub import ModelCard

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.hub.push import push_adapter
from modeling_retrieveall.model.embedded_llm import cache_dir
from modeling_retrieveall.model.model_source import shipped_adapters
from tests.conftest import ROOT
from tests.local_hub import LocalHub

THREE_LINES = """
import importlib.util, json, warnings
assert importlib.util.find_spec("modeling_retrieveall") is None, "the package is installed"
warnings.simplefilter("error", UserWarning)

from transformers import AutoModel
model = AutoModel.from_pretrained("ann/retrieveall-panx", trust_remote_code=True)
found = model.extract(["Angela Merkel besuchte Nairobi.", "Wangari Maathai alizaliwa Nyeri."])

found = [[[e.text, e.label, e.start, e.end] for e in result.entities] for result in found]
print(json.dumps([dict(model.languages), found]))
"""
THE_REST = """
import json
from transformers import AutoConfig, AutoModel, AutoTokenizer
config = AutoConfig.from_pretrained("ann/retrieveall-panx", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("ann/retrieveall-panx", trust_remote_code=True)
changes = {"languages": ["de"], "n_sentences": 1, "revision": "main"}
model = AutoModel.from_pretrained("ann/retrieveall-panx", trust_remote_code=True, **changes)
sequences = model.generate(**tokenizer(["Angela Merkel besuchte Nairobi."], return_tensors="pt"))
model.save_pretrained("saved")
again = AutoModel.from_pretrained("./saved", trust_remote_code=True, collection=None)
assert again.languages == model.languages
print(json.dumps([config.model_type, model.config.n_sentences, tokenizer.decode(sequences[0]), list(again.languages)]))
"""


def requirements(folder: Path) -> list[str]:
    """The dependencies that the wheel declares, including those of the bundled base LLM."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        declared = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []
    plain = [line for line in declared if ";" not in line]
    return plain + [line.partition(";")[0].strip() for line in declared if 'extra == "embedded"' in line]


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh virtual environment with the declared dependencies and without this package."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    # The same torch as here: any other may bring gigabytes of CUDA packages.
    needed = [f"torch=={torch.__version__.partition('+')[0]}", *requirements(folder)]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needed], check=True)
    return python


def run(python: Path, code: str, hub: LocalHub, home: Path, **variables: str) -> list[object]:
    """Runs code in a new process with a new cache; returns the JSON that it prints last."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    environment = kept | hub.environment("hf_ben", home) | {"RETRIEVEALL_CACHE": str(cache_dir())} | variables
    home.mkdir(exist_ok=True)
    done = subprocess.run([python, "-c", code], env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: list[object] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_base")
def test_three_lines_extract_entities_with_only_the_declared_dependencies(
    hub: LocalHub, clean_python: Path, tmp_path: Path
) -> None:
    slug = "ann/PAN-X"
    for folder in sorted(path.parent for path in shipped_adapters().glob("*/retrieveall.json")):
        slug = push_adapter(folder, f"ann/retrieveall-{folder.name}", collection=slug).collection or slug
    pushed = RetrieveAllModel.from_pretrained(collection=slug)
    pushed.push_to_hub("ann/retrieveall-panx")

    languages, found = run(clean_python, THREE_LINES, hub, tmp_path / "home")
    assert languages == pushed.languages
    assert found == [
        [["Angela Merkel", "PER", 0, 13], ["Nairobi", "LOC", 23, 30]],
        [["Wangari Maathai", "PER", 0, 15], ["Nyeri", "LOC", 26, 31]],
    ]
    # Swahili was served by `mul`; no other weights than those of the two were asked for.
    fetched = {call.path.split("/")[2] for call in hub.requests if call.path.endswith("adapter_model.safetensors")}
    assert "retrieveall-ta" not in fetched

    hub.requests.clear()
    assert run(clean_python, THREE_LINES, hub, tmp_path / "home", HF_HUB_OFFLINE="1") == [languages, found]
    assert hub.requests == []

    card = ModelCard.load("ann/retrieveall-panx").text
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "AutoModel.from_pretrained" in block]
    (line,) = run(clean_python, f"{code}\nimport json\nprint(json.dumps([str(result.entities[0])]))", hub, tmp_path / "home")
    assert "text='Wangari Maathai', label='PER', start=0, end=15" in str(line)

    kind, n_sentences, answer, saved = run(clean_python, THE_REST, hub, tmp_path / "home")
    assert (kind, n_sentences, saved) == ("retrieveall", 1, ["de", "mul"])
    assert answer == " Angela Merkel = PER; Nairobi = LOC\n"
