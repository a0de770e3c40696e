"""A Hub server for tests: uvicorn in a thread, on a free local port.

>>> with LocalHub({"hf_ann": "ann"}) as hub:
...     HfApi(endpoint=hub.endpoint, token="hf_ann").whoami()["name"]
'ann'
"""

import socket
import time
from pathlib import Path
from threading import Thread
from types import TracebackType

import uvicorn

from .collections import Collections
from .faults import Call, Faults, Kind
from .renamed import Renamed
from .routes import application
from .store import Store


class LocalHub:
    """A Hub that runs during a ``with`` block.

    >>> with LocalHub({"hf_ann": "ann", "hf_ben": "ben"}) as hub:
    ...     hub.fault("HEAD", "/resolve/", 503, times=2)

    This Hub does not support Xet. Disable it in the client with the environment variable ``HF_HUB_DISABLE_XET``, or with
    ``huggingface_hub.constants.HF_HUB_DISABLE_XET`` if the client has been imported already.

    Args:
        tokens: Access token to user. A user owns the repositories and collections in the namespace of their name.

    Attributes:
        endpoint: The URL for the client.
        store: The repositories, for operations without a route, such as granting access to a gated repository.
        collections: The collections.
        requests: All requests so far, in order.
        renamed: Old name to new name of renamed repositories.
    """

    def __init__(self, tokens: dict[str, str]) -> None:
        self.store = Store()
        self.collections = Collections(self.store)
        self._renamed = Renamed(application(self.store, self.collections, tokens))
        self.renamed = self._renamed.names
        self._faults = Faults(self._renamed)
        self._socket = socket.create_server(("127.0.0.1", 0))
        # uvicorn sends the head and the body separately; without TCP_NODELAY the kernel would delay the body by 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[Call] = self._faults.calls
        config = uvicorn.Config(
            self._faults,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            # Injected faults end connections, which uvicorn would log as errors.
            log_level="critical",
            # The client keeps idle connections for 5 seconds. A server that closes them after the same time sometimes closes
            # one while a request is on its way.
            timeout_keep_alive=60,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def fault(self, method: str, path: str, kind: Kind, times: int = 1) -> None:
        """Injects a fault into the next ``times`` requests whose path contains a match of the regular expression ``path``."""
        self._faults.add(method, path, kind, times)

    def clear(self) -> None:
        """Removes all repositories, collections, requests and faults."""
        self.store.repositories.clear()
        self.collections.clear()
        self.renamed.clear()
        self._faults.clear()

    def environment(self, token: str, home: Path) -> dict[str, str]:
        """The environment of another process whose client uses this Hub, with ``home`` for its cache."""
        return {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": token, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}

    def __enter__(self) -> "LocalHub":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()
