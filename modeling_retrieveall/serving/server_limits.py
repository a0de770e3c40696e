"""What an HTTP server accepts. The command line imports this module for its help, so it imports nothing slow.

>>> ServerLimits(texts=10)
ServerLimits(body_bytes=4194304, texts=10, queued_texts=4096, wait_seconds=60, read_seconds=10)
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """What a server accepts.

    Attributes:
        body_bytes: Maximum size of a request.
        texts: Maximum number of texts in a request.
        queued_texts: Maximum number of texts that wait.
        wait_seconds: Maximum time from the arrival of a request to its response.
        read_seconds: Maximum time for a client to send the next part of its request.
    """

    body_bytes: int = 4 << 20
    texts: int = 1024
    queued_texts: int = 4096
    wait_seconds: float = 60
    read_seconds: float = 10
