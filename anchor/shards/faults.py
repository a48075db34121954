"""What can go wrong with one try at a file on a network, in a user's words."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import Any

__all__ = ["AGAIN", "ALWAYS", "AUTHORITY", "CONTENT", "ONCE", "PASSING", "TWICE", "Fault", "MissingFault",
           "network_fault", "range_of", "status_fault"]  # fmt: skip

ALWAYS = 1_000_000  # tries that a fault deserves: what may pass
TWICE = 2  # wrong bytes: once may be an accident
ONCE = 1  # what stays as it is

PASSING = (408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524)
AGAIN = "The server or the way to it has a problem. Start again when it is mended: what was fetched is kept."
AUTHORITY = "If its authority is your own, name the file with it in SSL_CERT_FILE."
CONTENT = "Something between here and the server changes files, or the set was uploaded in part. Upload it again."


class Fault(Exception):  # noqa: N818, what happened to one try; users see it inside a ShardError
    """Why a try failed: ``what`` arrived or did not, what to do (``advice``), how many ``tries`` it is worth."""

    def __init__(self, what: str, advice: str = "", tries: int = ALWAYS) -> None:
        super().__init__(what)
        self.what, self.advice, self.tries = what, advice, tries

    def sentence(self, where: str) -> str:
        """The whole message for the user."""
        return f"{where}: {self.what}.{' ' * bool(self.advice)}{self.advice}"


class MissingFault(Fault):
    """Nothing lies at the address."""


def range_of(headers: Any) -> tuple[int, int]:
    """First byte and length of the whole file, out of ``Content-Range: bytes 5-9/20``; -1 for a first of ``*``."""
    text = headers.get("Content-Range", "")
    span, _, total = text.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    if not total.isdecimal() or not (first.isdecimal() or first == "*"):
        raise Fault(f"the server answers with a range that is none ({text!r})", "Use a server that knows ranges.", ONCE)
    return (-1 if first == "*" else int(first)), int(total)


def status_fault(status: int, reason: str) -> Fault:
    """What an HTTP status other than 200 and 206 means."""
    answer = f"the server answers {status} {reason}".rstrip()
    if status in (404, 410):
        return MissingFault(answer, "Check the address, or upload the set again.", ONCE)
    if status in (401, 403, 407):
        advice = "Check that you may read it: AWS_ variables for S3, user:password@ or ~/.netrc for a web server."
        return Fault(answer, advice, ONCE)
    return Fault(answer, AGAIN, ALWAYS) if status in PASSING else Fault(answer, "Check the address.", ONCE)


def network_fault(error: Exception, connect_s: float, stall_s: float) -> Fault:
    """What an error of aiohttp, a time-out or a socket means; its own text is not shown, it may hold secrets."""
    import aiohttp

    if isinstance(error, aiohttp.TooManyRedirects):
        return Fault("it redirects without end", "Check the address.", ONCE)
    if isinstance(error, (aiohttp.InvalidURL, getattr(aiohttp, "RedirectClientError", aiohttp.InvalidURL))):
        return Fault("it is, or redirects to, no web address", "Check the address.", ONCE)
    if isinstance(error, aiohttp.ClientSSLError):
        return Fault(f"no secure connection comes about ({_reason(error)})", AUTHORITY, ONCE)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault(f"it cannot be reached ({_reason(error)})", "Check the address and the network.")
    if isinstance(error, asyncio.TimeoutError):
        what = f"no connection in {connect_s:g} s" if "onnect" in str(error) + type(error).__name__ else ""
        return Fault(what or f"no byte came for {stall_s:g} s", AGAIN)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault("the connection ended in the middle of the file", AGAIN)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Fault("the server hung up without an answer", AGAIN)
    if isinstance(error, OSError):
        return Fault(f"the connection broke ({_reason(error)})", AGAIN)
    if isinstance(error, aiohttp.ClientResponseError):
        return Fault("what answers does not speak HTTP", "Check the address and its port.")
    if isinstance(error, aiohttp.ClientError):
        return Fault(f"{type(error).__name__} while it was read", AGAIN)
    raise error  # a mistake of this program


def _reason(error: Exception) -> str:
    """The reason that the system or the TLS library gives, in its own few words."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    number = getattr(cause, "errno", None) or 0
    known = os.strerror(number) if number in errno.errorcode and not isinstance(cause, ssl.SSLError) else ""
    return str(getattr(cause, "verify_message", "") or known or getattr(cause, "strerror", "") or type(cause).__name__)
