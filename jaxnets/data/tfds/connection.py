"""Is there a network? Asked before a download, because libraries retry for minutes."""

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

SECONDS = 3.0


def connected(url: str, *, seconds: float = SECONDS) -> bool:
    """Whether the host of `url`, or the proxy that leads to it, accepts a connection.

    Nothing is sent. The name is looked up in a thread that is left behind when it takes
    too long, because a lookup has no time limit of its own.

    Args:
        url: An `http` or `https` address.
        seconds: How long to wait, lookup and connection together.
    """
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    reached = threading.Event()

    def attempt() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
            reached.set()
        except OSError:
            pass
        finally:
            done.set()

    done = threading.Event()
    threading.Thread(target=attempt, daemon=True).start()
    done.wait(seconds)
    return reached.is_set()
