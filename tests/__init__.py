"""The tests. They talk to one Hub on loopback, with a cache of its own: no test knows the real ones.

The client reads both from the environment when it is imported, so they are set here, before anything else.
"""

import os
import tempfile
from pathlib import Path

from tests.local_hub import LocalHub

HUB = LocalHub({"hf_ann": "ann", "hf_ben": "ben"})
HUB_HOME = tempfile.TemporaryDirectory(prefix="hub-cache-")
os.environ.update(HUB.environment("hf_ann", Path(HUB_HOME.name)))
