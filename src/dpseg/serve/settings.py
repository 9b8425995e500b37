"""Where the service listens, who may ask, and the bounds of what it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from dpseg.errors import ServiceError

#: A token shorter than this could be guessed.
MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Settings of the service.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        token: what clients must send as `Authorization: Bearer`; None asks for nothing.
        insecure: listen beyond this machine without a token.
        device: where the model runs; see `Segmenter.from_pretrained`.
        max_megabytes: size of a whole request.
        max_megapixels: size of each image.
        max_classes: names in one request.
        max_examples: examples in one request.
        concurrency: photos that are segmented at the same time.
        queue: requests that may wait for their turn; more are refused.
        timeout_seconds: for a request's body to arrive, and again for its answer to be ready.
        kept_results: results that are kept to be looked at and explained.
        kept_megabytes: memory of the kept results.
        kept_seconds: how long a result is kept.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    device: str = "auto"
    max_megabytes: float = 32
    max_megapixels: float = 25
    max_classes: int = 1000
    max_examples: int = 20
    concurrency: int = 1
    queue: int = 16
    timeout_seconds: float = 60
    kept_results: int = 32
    kept_megabytes: float = 256
    kept_seconds: float = 900

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ServiceError(f"port is {self.port}; it lies in 0..65535.")
        if self.queue < 0:
            raise ServiceError(f"queue is {self.queue}; 0 or more requests can wait.")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ServiceError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.token is not None and not _is_token(self.token):
            raise ServiceError(
                f"the token must have at least {MIN_TOKEN_CHARACTERS} characters, "
                "all of them visible ASCII."
            )
        if self.token is None and not self.insecure and not is_loopback(self.host):
            raise ServiceError(
                f"{self.host} can be reached from other machines. Give a token (--token or "
                "DPSEG_TOKEN), or --insecure if everybody there may use the service."
            )

    @property
    def max_bytes(self) -> int:
        """Size of a whole request in bytes."""
        return round(self.max_megabytes * 1e6)

    @property
    def max_pixels(self) -> int:
        """Size of each image in pixels."""
        return round(self.max_megapixels * 1e6)


_POSITIVE = (
    "max_megabytes",
    "max_megapixels",
    "max_classes",
    "max_examples",
    "concurrency",
    "timeout_seconds",
    "kept_results",
    "kept_megabytes",
    "kept_seconds",
)


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone.

    Args:
        host: an address or a name; of names only `localhost` is known.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_token(token: str) -> bool:
    return len(token) >= MIN_TOKEN_CHARACTERS and all("!" <= letter <= "~" for letter in token)
