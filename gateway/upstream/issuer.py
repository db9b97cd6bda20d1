"""The requests of an OAuth flow to the authorization server, and what their failure means in one line."""

import json
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from mcp.client.auth.exceptions import OAuthFlowError, OAuthRegistrationError, OAuthTokenError

from gateway.upstream import UpstreamRefused, UpstreamUnavailable, printable

MAX_ANSWER = 1024 * 1024
SECONDS = 20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ERRORS = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "invalid_target"),
        *("unauthorized_client", "unsupported_grant_type", "access_denied", "server_error", "temporarily_unavailable"),
    }
)
"""The `error` codes of RFC 6749 and 8707: these may be repeated, since they cannot hold a secret."""

# The SDK logs the flow's exceptions with what a token endpoint answered.
logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL + 1)


class Issuer:
    """An open way to the authorization server of one MCP server. Made by `reached`."""

    def __init__(self, alias: str, host: str, http: httpx2.AsyncClient) -> None:
        self._alias, self._host, self._http = alias, host, http
        self.error = ""  # the `error` code of the newest answer, if it is one of `ERRORS`

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Return the whole answer. Raises `UpstreamRefused` for an address where anyone could read along."""
        url = request.url
        if url.scheme != "https" and url.host not in LOOPBACK and url.host != self._host:
            what = f"its login leads to {printable(url.host, 100)} without TLS"
            raise UpstreamRefused(self._alias, what, "ask who runs it", 401)
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise OAuthFlowError(f"an answer of more than {MAX_ANSWER:,} bytes")
        finally:
            await response.aclose()
        # A refused token is gone, one that was not even looked at is not.
        if request.method == "POST" and (response.status_code >= 500 or response.status_code == 429):
            what = f"its authorization server fails (HTTP {response.status_code})"
            raise UpstreamUnavailable(self._alias, what, "try again; ask who runs it if it stays so")
        self.error = _error(bytes(body))
        whole = httpx2.Response(response.status_code, content=bytes(body), request=request)
        whole.next_request = response.next_request
        return whole


@asynccontextmanager
async def reached(alias: str, url: str) -> AsyncGenerator[Issuer]:
    """For one flow for the MCP server at `url`. What fails in it is raised as an `UpstreamError` without secrets."""
    error = ""
    try:
        verify = ssl.create_default_context()  # what the system trusts, as for the MCP server itself
        async with httpx2.AsyncClient(trust_env=False, verify=verify, timeout=SECONDS) as http:
            issuer = Issuer(alias, httpx2.URL(url).host, http)
            try:
                yield issuer
            finally:
                error = issuer.error and f" ({issuer.error})"
    except OAuthRegistrationError:
        advice = 'register a client there, and set its id as "clientId" under "oauth" in the configuration'
        raise UpstreamRefused(alias, f"its authorization server does not register us{error}", advice, 401) from None
    except OAuthTokenError:
        what, advice = f"its authorization server gives us no token{error}", 'check "oauth" in the configuration'
        raise UpstreamRefused(alias, what, advice, 401) from None
    except OAuthFlowError as e:  # it comes before there is a secret that it could name
        said, advice = f" ({printable(str(e))})", f'check "oauth" in the configuration, and run `etmcp login {alias}`'
        raise UpstreamRefused(alias, "the login cannot be trusted or did not succeed", advice, 401, said=said) from None
    except httpx2.HTTPError as e:
        what = f"its authorization server cannot be reached ({type(e).__name__})"
        raise UpstreamUnavailable(alias, what, "try again; ask who runs it if it stays so") from None
    except (ValueError, httpx2.InvalidURL):
        what, advice = "its authorization server answered with junk", "ask who runs it"
        raise UpstreamRefused(alias, what, advice, 401) from None


def _error(body: bytes) -> str:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = cast(dict[str, Any], answer).get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code in ERRORS else ""
