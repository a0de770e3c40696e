"""A small Hugging Face Hub on loopback, for tests that use the real client.

>>> with LocalHub({"hf_ann": "ann"}) as hub:
...     api = HfApi(endpoint=hub.endpoint, token="hf_ann")
...     api.create_repo("ann/ner-de")
...     hub.fault("GET", "/resolve/", "truncated")
"""

from .faults import Call, Kind
from .server import LocalHub

__all__ = ["Call", "Kind", "LocalHub"]
