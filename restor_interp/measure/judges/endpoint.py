"""An OpenAI-compatible chat endpoint, asked patiently: time limits, new attempts, no secrets told.

`POST <base_url>/chat/completions` with a model, messages and temperature 0 is all that is used of
the protocol, so that any server that speaks it will do.
"""

import contextlib
import email.utils
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from restor_interp.errors import ConfigError
from restor_interp.measure.judges.prompt import Case, Verdict, messages, read_reply, shortened

KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of troubles that may pass."""
CLOSED = frozenset({401, 404})
"""HTTP statuses that every further question would meet as well: another key, no such model."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt; doubled before each further one."""
LONGEST_WAIT = 60.0
"""Seconds that are waited at most, also where the server asks for more."""

PROBE = Case(
    question="What is the capital of France?",
    accepted=("Paris",),
    false_object=("Rome",),
    answer="It is Paris.",
)
"""The question that shows whether a judge answers at all."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The outcome of all attempts at one question."""

    verdict: Verdict
    silent: bool = False
    """Whether the server did not answer, rather than refuse this question or answer badly."""


class Endpoint:
    """One model behind one address; may be asked from several threads at once.

    `timeout`: seconds without a sign of life after which an attempt is given up. `attempts`: how
    often one question is put, whatever went wrong before. `at_once`: questions under way at the
    same time. Use it in a `with` block, or `close` it.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        key: str,
        timeout: float = 60.0,
        attempts: int = 3,
        at_once: int = 8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        http = _http_client()
        self.model, self.at_once, self._attempts, self._sleep = model, at_once, attempts, sleep
        self._key = key
        self._errors: Any = http
        self.url = _address(http, base_url)
        if not (key.isascii() and key.isprintable()):
            # No header can hold it, and the message that would say so shows the key.
            raise ConfigError(f"{KEY} holds signs that no key has, such as a line break")
        self._client = http.Client(
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout,
            limits=http.Limits(max_connections=at_once),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def __repr__(self) -> str:
        return f"Endpoint({self.model!r}, url={self.url!r})"

    def ask(self, case: Case) -> Reply:
        """The judge's verdict; without an outcome, and with the last reason, where none came."""
        reply, wait = Reply(verdict=Verdict(outcome=None, reason="not asked")), FIRST_WAIT
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(min(wait, LONGEST_WAIT))
            reply, again, asked_for = self._attempt(case)
            if not again:
                break
            wait = FIRST_WAIT * 2**attempt if asked_for is None else asked_for
        return reply

    def check(self) -> None:
        """Ask one easy question. Raises `ConfigError` where no verdict on it can be had."""
        reply = self.ask(PROBE)
        if reply.verdict.outcome is None:
            raise ConfigError(
                f"the judge {self.model!r} at {self.url} does not judge: {reply.verdict.reason}. "
                f"Check its address ({BASE_URL} or base_url), the model's name, {KEY}, and "
                "whether the server is up; or leave this judge out"
            )

    # ---- one attempt

    def _attempt(self, case: Case) -> tuple[Reply, bool, float | None]:
        """(reply, whether another attempt may help, seconds that the server asks to wait)."""
        body = {"model": self.model, "temperature": 0, "messages": messages(case)}
        try:
            response = self._client.post(self.url, json=body)
        except self._errors.TimeoutException as error:
            return self._failed(f"no answer in time ({type(error).__name__})"), True, None
        except (self._errors.RequestError, OSError) as error:
            what = f"{type(error).__name__}: {error}"
            return self._failed(f"the connection failed ({what})"), True, None
        if (code := response.status_code) != 200:
            text, again = f"HTTP {response.status_code}: {response.text}", code in PASSING
            reply = self._failed(text, silent=again or code in CLOSED)
            return reply, again, _retry_after(response.headers)
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            content = None
        if not isinstance(content, str):
            text = f"not a chat completion: {response.text}"
            return self._failed(text), True, None
        verdict = read_reply(self._without_key(content))
        return Reply(verdict=verdict), verdict.outcome is None, None

    def _failed(self, reason: str, *, silent: bool = True) -> Reply:
        text = shortened(self._without_key(reason))
        return Reply(verdict=Verdict(outcome=None, reason=text), silent=silent)

    def _without_key(self, text: str) -> str:
        """Servers like to repeat the key that they refuse."""
        return text.replace(self._key, "***")


def endpoint_from_environment(
    model: str,
    *,
    base_url: str | None = None,
    timeout: float = 60.0,
    attempts: int = 3,
    at_once: int = 8,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """An endpoint with the key, and unless it is given the address, of the environment.

    There is no address by default: answers go nowhere unless somebody said where. Raises
    `ConfigError` where key, address or the HTTP client is missing; asks nothing yet.
    """
    address, key = base_url or environment.get(BASE_URL), environment.get(KEY, "").strip()
    missing = [
        text
        for text, there in (
            (f"{BASE_URL} (or base_url), such as https://api.openai.com/v1", address),
            (f"{KEY} (any text for a server that asks for none)", key),
        )
        if not there
    ]
    if missing:
        raise ConfigError(f"the judge {model!r} needs the environment's {' and '.join(missing)}")
    assert address
    return Endpoint(
        model, base_url=address, key=key, timeout=timeout, attempts=attempts, at_once=at_once
    )


def _http_client() -> Any:
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        raise ConfigError(
            "a judge behind an endpoint needs an HTTP client: pip install 'restor-interp[judge]'"
        ) from None


def _address(http: Any, base_url: str) -> str:
    """Where questions are posted."""
    try:
        url = http.URL(base_url.strip())
    except http.InvalidURL:
        url = http.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"a judge's base_url is like https://api.openai.com/v1, found {base_url!r}"
        )
    if url.userinfo:
        # It would stand in the run's configuration, and in messages.
        raise ConfigError(f"a judge's base_url must not hold a password: the key goes into {KEY}")
    return str(url.copy_with(path=f"{url.path.rstrip('/')}/chat/completions"))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, as a number or as a date (RFC 9110 §10.2.3)."""
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
