"""What it means when an HTTP request fails, in one line for the operator."""

import aiohttp

from gateway.upstream import UpstreamGarbled, UpstreamRefused, UpstreamUnavailable, printable


def unreachable(alias: str, error: Exception) -> UpstreamUnavailable:
    """Return what a failed connection means: any `aiohttp.ClientError`, `OSError`, or a ValueError before sending."""
    match error:
        case aiohttp.ClientConnectorError():
            what = f"cannot connect to {error.host}:{error.port} ({error.strerror or type(error.os_error).__name__})"
            return UpstreamUnavailable(alias, what, 'check that it runs, and "url" in the configuration')
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return UpstreamUnavailable(alias, "its URL cannot be used", 'correct "url" in the configuration')
        case _:
            what = f"the connection failed ({type(error).__name__})"
            return UpstreamUnavailable(alias, what, "try again; if it stays so, look at its log")


def check_status(alias: str, response: aiohttp.ClientResponse, *, json_is_answer: bool = False) -> None:
    """Raise the `UpstreamError` that an HTTP status means, unless its JSON body may say it better."""
    status = response.status
    if 300 <= status < 400:
        host = printable(_host(response.headers.get("location", "")), 100)
        said = f" to {host or 'nowhere'}, and redirects are not followed"
        advice = 'put the final address as "url" in the configuration'
        raise UpstreamGarbled(alias, f"redirects (HTTP {status})", advice, said=said)
    if status in (401, 403):
        advice = 'check its credentials ("headers" in the configuration)'
        raise UpstreamRefused(alias, f"does not let us in (HTTP {status})", advice, status)
    if status >= 400 and not json_is_answer:
        if status >= 500:
            raise UpstreamUnavailable(alias, f"failed (HTTP {status})", "try again; look at its log")
        advice = 'check "url" in the configuration'
        raise UpstreamRefused(alias, f"refused the request (HTTP {status})", advice, status)


def _host(location: str) -> str:
    """Return the host that a Location names: the rest may hold secrets."""
    return location.partition("//")[2].partition("/")[0].rpartition("@")[2].partition("?")[0]
