"""A hosted server as our own: its MCP unchanged, our receipts around it."""

import hashlib
import os
import platform
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Attester
from servers import code
from servers.attested import Attested
from servers.identity import Identity
from servers.tee.hosted.install import Program
from servers.tee.hosted.relay import Relay
from servers.tee.hosted.sessions import Sessions
from servers.tee.process import seccomp
from servers.tee.process.python import environment


def isolation(hello: Mapping[str, Any]) -> dict[str, Any]:
    """What the service tier is made of on this machine, as JSON, from what its launcher found (`Launcher.hello`)."""
    made = environment(hello)
    filters = [hashlib.sha256(seccomp.program(name, platform.machine())).hexdigest() for name in ("python", "exec_net")]
    mechanisms = [each.replace(filters[0], filters[1]) for each in made["mechanisms"]]
    profile = {"mechanisms": sorted(mechanisms), "missing": sorted(made["missing"])}
    return {
        "tier": "service",
        "kernel": made["kernel"],
        "machine": made["machine"],
        "determinism": made["determinism"],
        "mechanisms": [*mechanisms, "egress by proxy only", "one sandbox a session"],
        "missing": made["missing"],
        "profile_digest": sha256_hex(canonical(profile)),
    }


def build(
    program: Program,
    sessions: Sessions,
    attester: Attester,
    *,
    isolated: Mapping[str, Any],
    clock: Callable[[], int],
    require_sealed: bool,
) -> Server[Any]:
    """The server, attested. `clock` returns milliseconds since 1970; `isolated` is what `isolation` says."""
    bus = InMemorySubscriptionBus()
    server: Server[Any] = Server(program.name, version=program.version, on_subscriptions_listen=ListenHandler(bus))
    told = {"name": program.name, "version": program.version}
    environment = {**isolated, "hosted": dict(program.told)}
    policy = sessions.policy
    configuration = {"server": told, "code": code.own(), "policy": policy.digest(), "environment": environment}
    configuration |= {
        "requireSealed": require_sealed,
        "command": [os.fsencode(each).hex() for each in program.argv],  # which need not be text
        "variables": sorted(sessions.granted.spec.env),
    }
    identity = Identity(attester, bytes.fromhex(sha256_hex(canonical(configuration))), secrets.token_bytes(16))
    server.middleware.append(
        Attested(identity, server=told, policy_digest=policy.digest(), clock=clock, require_sealed=require_sealed)
    )
    server.middleware.append(Relay(sessions, bus, environment, policy.limits().wall_seconds))
    return server
