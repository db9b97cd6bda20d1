"""GET from a vendor's service: bounded in time and size, and every failure is one error."""

from collections.abc import Mapping

import aiohttp

from registry.endorsements import MAX_DOCUMENT, Unavailable

TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
BUSY = frozenset({429, 503})


async def get(pool: aiohttp.ClientSession, url: str) -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of a 200; raises `Unavailable`."""
    try:
        async with pool.get(url, timeout=TIMEOUT, allow_redirects=False) as reply:
            if reply.status != 200:
                after = reply.headers.get("Retry-After", "")
                wait = float(after) if reply.status in BUSY and after.isdecimal() else 0.0
                raise Unavailable(f"{url}: HTTP {reply.status}", min(wait, 3600.0))
            body = await reply.content.read(MAX_DOCUMENT + 1)
            while len(body) <= MAX_DOCUMENT and (more := await reply.content.read(MAX_DOCUMENT + 1 - len(body))):
                body += more
            if len(body) > MAX_DOCUMENT:
                raise Unavailable(f"{url}: longer than {MAX_DOCUMENT} bytes")
            return body, reply.headers
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as e:
        raise Unavailable(f"{url}: {str(e) or type(e).__name__}") from e
