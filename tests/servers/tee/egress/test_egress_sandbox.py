"""The proxy behind the process tier's own sandbox: its listener, its seccomp filter, its Landlock rules, its uid."""

import os
import shutil
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from servers.tee.egress.proxy import Proxy
from servers.tee.process import Spec
from servers.tee.process.launcher import Launcher
from tests.servers.tee.egress.scene import INTERNET, TOKEN, stage

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="the process tier is Linux only")]

SCRIPT = """
ask() { exec 3<>/dev/tcp/127.0.0.1/3128 && printf "$1" >&3 && head -n "$2" <&3; exec 3>&-; }
echo "granted: $(ask "GET http://api.test:{plain}/in HTTP/1.1\\r\\nHost: api.test:{plain}\\r\\n\\r\\n" 9 | tail -n 1)"
echo "denied: $(ask "GET http://evil.test/ HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n" 2 | tail -n 1)"
echo "secret: $(ask "GET http://secret.test:{tls}/in HTTP/1.1\\r\\nHost: secret.test:{tls}\\r\\n\\r\\n" 9 | tail -n 1)"
echo "tcp: $( (exec 4<>/dev/tcp/{internet}/{raw} && echo reached) 2>&1)"
echo "udp: $( (exec 4<>/dev/udp/{internet}/{raw} && echo made) 2>&1)"
echo "name: $( (exec 4<>/dev/tcp/api.test/{plain} && echo reached) 2>&1)"
echo "environment: $(env)"
"""


async def test_a_sandboxed_program_goes_out_by_the_proxy_and_by_nothing_else(tmp_path: Path) -> None:
    if (bash := shutil.which("bash", path="/bin:/usr/bin")) is None:
        pytest.skip("there is no bash, whose sockets the sandboxed program uses")
    (out, stdout), nothing = os.pipe(), os.open("/dev/null", os.O_RDWR)
    async with stage(tmp_path) as scene, Launcher() as launcher:
        if not (await launcher.hello())["namespaces"]:
            pytest.skip("this system refuses namespaces, without which programs get no listener")
        ports = {"plain": scene.upstream.plain, "tls": scene.upstream.tls, "raw": scene.upstream.raw}
        script = SCRIPT
        for name, value in (ports | {"internet": INTERNET}).items():
            script = script.replace(f"{{{name}}}", str(value))
        spec = Spec(argv=(bash, "-c", script), profile="exec_net", listen=True)
        async with launcher.start(spec, nothing, stdout, nothing) as running:
            os.close(stdout)
            assert running.listener is not None
            async with Proxy(scene.gate).serve(running.listener.dup()):
                with open(out, encoding="utf-8") as reading:  # noqa: ASYNC230, PTH123
                    said = await anyio.to_thread.run_sync(reading.read)
                assert (await running.wait()).code == 0
        os.close(nothing)
        log = await scene.logged(3)
    told = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    assert told["granted"] == "hello /in "
    assert told["denied"] == "x-egress: no-rule"
    assert told["secret"] == "hello /in "
    for way in ("tcp", "udp", "name"):
        assert "reached" not in told[way], told
        assert "made" not in told[way], told
    assert TOKEN not in said
    assert f"authorization: Bearer {TOKEN}".encode() in scene.upstream.seen[1]
    assert [(entry.host, entry.verdict) for entry in log] == [
        ("api.test", "allowed"),
        ("evil.test", "denied"),
        ("secret.test", "allowed"),
    ]
