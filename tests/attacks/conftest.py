"""One gateway for all attacks that need no special start: each server plain and sealed, on a pipe and over HTTP."""

from collections.abc import Iterator

import pytest

from tests.attacks.stage import Cast, Middle, Stage, at, on_pipe, ready, written
from tests.support.rawclient import Json, StdioClient


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Servers `pp` `ps` `hp` `hs` (pipe, HTTP; plain, sealed), and `other`, a genuine one that nobody stands before."""
    folder = tmp_path_factory.mktemp("attacks")
    with Cast(folder) as cast:
        starting = cast.server("honest"), cast.server("honest")
        real, other = map(ready, starting)
        middles = {name: Middle.at(folder, name) for name in ("pp", "ps", "http")}
        proxy = cast.proxy(middles["http"], real, other)
        required: Json = {"require": "executor-attested", "timeout": 20}
        servers = {
            "pp": on_pipe(middles["pp"], other, seal=False, **required),
            "ps": on_pipe(middles["ps"], other, **required),
            "hp": at(proxy, seal=False, **required),
            "hs": at(proxy, **required),
            "other": at(other, **required),
        }
        where = {"pp": middles["pp"], "ps": middles["ps"], "hp": middles["http"], "hs": middles["http"]}
        home, stderr = folder / "home", folder / "stderr"
        with StdioClient(written(folder, servers), home, stderr) as client:
            listed = client.request("tools/list")
            states = listed.result["_meta"]["com.etmcp/servers"]
            assert set(states.values()) == {"ready"}, states
            yield Stage(client, home, stderr, where)
        assert not stderr.read_bytes()
