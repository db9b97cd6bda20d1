"""The engine's side of host calls: which are allowed, what they answer, and the transcript of them."""

import json
from typing import Any, cast

from attest import canonical
from attest.errors import CanonicalError
from servers.tee.sandbox import Exchange, HostCallError, Job, SandboxError, Status
from servers.tee.sandbox.worker import ANSWER, ERROR, MAX_NAME, STOP

_DEPTH = 64  # of a request and of a response


class Host:
    """Answers the host calls of one call, from its job's functions or from its job's transcript."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.transcript: list[Exchange] = []  # grows by one with each answer; owned by `answer`
        self.bytes = 0
        """Of names, requests and responses so far."""

    async def answer(self, frame: bytes) -> bytes:
        """The frame to send back for a frame that asks. Raises what a function of the job raises by mistake."""
        size = int.from_bytes(frame[:2])
        try:
            name, request = frame[2 : 2 + size].decode(), frame[2 + size :].decode()
        except UnicodeDecodeError:
            return stop("host", "a name or request that is not UTF-8")
        if size > MAX_NAME or not name.isprintable():
            return stop("host", f"a name that is not printable text of at most {MAX_NAME} bytes")
        if len(self.transcript) >= self._job.limits.host_calls:
            return stop("host", f"more than {self._job.limits.host_calls} host calls")
        left = self._job.limits.host_bytes - self.bytes - (len(frame) - 2)
        if left < 0:
            return stop("host", "size")
        replayed = self._job.replay is not None
        exchange = self._repeated(name, request) if replayed else await self._asked(name, request)
        if isinstance(exchange, str):
            return stop("divergence", exchange)
        if (response := len(exchange.response.encode())) > left:
            text = f"the answer is {response} bytes; {left} are left of those that this call's host calls may take"
            exchange = Exchange(name, request, text, ok=False)
        response = exchange.response.encode()
        self.bytes += len(frame) - 2 + len(response)
        self.transcript.append(exchange)
        return (ANSWER if exchange.ok else ERROR) + response

    def unasked(self) -> str | None:
        """What the transcript of the job says beyond what the program asked; None if there is no more, or none."""
        if self._job.replay is None or len(self.transcript) == len(self._job.replay):
            return None
        missed = self._job.replay[len(self.transcript)]
        return f"the program made {len(self.transcript)} host calls; the transcript goes on with {missed.name!r}"

    def usage(self) -> dict[str, Any]:
        """How often each name was called, and the bytes (JSON)."""
        names: dict[str, int] = {}
        for exchange in self.transcript:
            names[exchange.name] = names.get(exchange.name, 0) + 1
        return {"count": len(self.transcript), "bytes": self.bytes, "names": names}

    def _repeated(self, name: str, request: str) -> Exchange | str:
        recorded = self._job.replay or ()
        number = len(self.transcript)
        if number == len(recorded):
            return f"the program made one host call more than the {number} of the transcript: {name!r}"
        expected = recorded[number]
        if expected.name != name:
            return f"host call {number + 1} is {name!r}; the transcript has {expected.name!r}"
        if expected.request != request:
            return f"host call {number + 1}, {name!r}, asks for something else than the transcript has"
        return expected

    async def _asked(self, name: str, request: str) -> Exchange:
        function = self._job.host_calls.get(name)
        if function is None:
            allowed = ", ".join(sorted(self._job.host_calls)) or "none"
            return Exchange(name, request, f"no host call {name!r} is allowed here; allowed: {allowed}", ok=False)
        try:
            arguments = canonical.parse(request.encode(), max_depth=_DEPTH)
        except CanonicalError as e:
            return Exchange(name, request, f"the request is not sound JSON: {e.detail}", ok=False)
        if not isinstance(arguments, dict):
            return Exchange(name, request, "the request is not a JSON object", ok=False)
        try:
            answered: Any = await function(cast(dict[str, Any], arguments))
        except HostCallError as e:
            return Exchange(name, request, str(e), ok=False)
        try:
            return Exchange(name, request, canonical.canonical(answered).decode())
        except CanonicalError as e:
            raise SandboxError(f"the host call {name} answered what is not JSON ({e.detail}): mend the engine") from e


def stop(status: Status, detail: str) -> bytes:
    """The frame that ends a call."""
    return STOP + json.dumps([status, detail]).encode()
