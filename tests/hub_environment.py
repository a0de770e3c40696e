"""The local Hub that all tests use instead of the real one, with a cache of its own.

``huggingface_hub`` reads its settings from the environment when it is imported, so a fixture would set them too late. This module
sets them when it is imported, and ``conftest.py`` imports it first. Processes that tests start inherit the environment.
"""

import os
import tempfile
from pathlib import Path

from tests.local_hub import LocalHub

HUB = LocalHub({"hf_ann": "ann", "hf_ben": "ben"})
HUB_HOME = tempfile.TemporaryDirectory(prefix="hub-cache-")
os.environ.update(HUB.environment("hf_ann", Path(HUB_HOME.name)))
