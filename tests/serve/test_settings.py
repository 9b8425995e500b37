"""Settings: nobody beyond this machine without a token, and bounds that bound."""

import pytest

from dpseg import DPSegError, MissingExtraError, ServiceError
from dpseg.serve import ServeSettings, create_app
from dpseg.serve.settings import is_loopback

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert ServeSettings(host=host).token is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.nip", ""]
)
def test_others_need_a_token_or_a_promise(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ServiceError, match="--insecure"):
        ServeSettings(host=host)
    ServeSettings(host=host, token=TOKEN)
    ServeSettings(host=host, insecure=True)


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-letters", "with a space in the middle", "é" * 20]
)
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(ServiceError, match="at least 16"):
        ServeSettings(token=token)


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"port": 65536}, {"queue": -1}, {"concurrency": 0}, {"timeout_seconds": 0.0},
     {"max_megabytes": -1.0}, {"max_megapixels": float("nan")}, {"max_classes": 0}],
)  # fmt: skip
def test_bounds_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ServiceError, match=next(iter(wrong))):
        ServeSettings(**wrong)  # type: ignore[arg-type]


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(ServeSettings(token=TOKEN))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"dpseg\[serve\]") as raised:
        create_app(None)  # type: ignore[arg-type]
    assert isinstance(raised.value, DPSegError)
