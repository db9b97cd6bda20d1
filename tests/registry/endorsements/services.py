"""Intel's and AMD's services on this machine, over the PKIs that the tests mint, and what can go wrong with them."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from aiohttp import web

from tests.pki.amd import FakeAmd
from tests.pki.intel import FakeIntel

Handler = Callable[[web.Request], web.StreamResponse]


@dataclass
class Services:
    """`intel` and `amd` may be replaced between requests; `asked` are the paths, in order; `fail` answers instead."""

    intel: FakeIntel
    amd: FakeAmd
    asked: list[str] = field(default_factory=list[str])
    fail: Handler | None = None
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if self.fail is not None:
            return self.fail(request)
        if request.path == "/root.crl":
            return web.Response(body=bytes.fromhex(self._collateral()["root_ca_crl"]))
        if request.path.endswith("/rootcacrl"):  # of PCCS
            return web.Response(text=self._collateral()["root_ca_crl"])
        if "certification" in request.path:
            return self._intel(request)
        return self._amd(request)

    def _collateral(self) -> dict[str, str]:
        return json.loads(self.intel.documents[self.intel.document_name])

    def _intel(self, request: web.Request) -> web.Response:
        held = self._collateral()
        if request.path.endswith("/pckcrl"):
            return web.Response(
                body=bytes.fromhex(held["pck_crl"]),
                headers={"SGX-PCK-CRL-Issuer-Chain": quote(held["pck_crl_issuer_chain"])},
            )
        name, member, header = ("tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain")
        if request.path.endswith("/identity"):
            name, member, header = ("qe_identity", "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain")
        body = f'{{"{member}":{held[name]},"signature":"{held[f"{name}_signature"]}"}}'
        return web.Response(text=body, headers={header: quote(held[f"{name}_issuer_chain"])})

    def _amd(self, request: web.Request) -> web.Response:
        documents = self.amd.documents(crl=self.amd.crl())
        last = request.path.rpartition("/")[2]
        part = {"cert_chain": "chain", "crl": "crl"}.get(last, last)
        found = [data for name, data in documents.items() if part in name.split("/")]
        return web.Response(body=found[0]) if found else web.Response(status=404)


@asynccontextmanager
async def serving(services: Services) -> AsyncGenerator[Services]:
    """The services on a free port."""
    application = web.Application()
    application.router.add_get("/{path:.*}", services.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        services.url = f"http://{host}:{port}"
        yield services
    finally:
        await runner.cleanup()
