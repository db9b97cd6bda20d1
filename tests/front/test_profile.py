"""`--schemas flat`: what a listener shows is flattened, what is called, pinned and received stays the server's own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import serving
from tests.support import lean
from tests.support.rawclient import ETMCP, HttpClient

TEXT = {"type": ["string", "null"], "description": "what to say"}
RICH: dict[str, Any] = {
    **lean.tool("echo"),
    "inputSchema": {"type": "object", "properties": {"text": {"$ref": "#/$defs/text"}}, "$defs": {"text": TEXT}},
}


@pytest.mark.parametrize(("era", "schemas"), [("legacy", "flat"), ("modern", "flat"), ("modern", "as-is")])
def test_a_listener_shows_schemas_as_its_clients_need_them(tmp_path: Path, era: Any, schemas: str) -> None:
    scripted = tmp_path / "lean"
    scripted.mkdir()
    (scripted / "mode").write_text("good")
    (scripted / "tools.json").write_text(json.dumps([RICH]))
    config = tmp_path / "etmcp.json"
    config.write_text(
        json.dumps({"mcpServers": {"it": {"command": sys.executable, "args": [lean.__file__, str(scripted)]}}})
    )
    options = ("--config", str(config), "--home", str(tmp_path / "home"), "serve", "--schemas", schemas)
    with serving(ETMCP, *options, log=tmp_path / "log") as port, HttpClient(port, era) as client:
        (tool,) = client.request("tools/list").result["tools"]
        shown = tool["inputSchema"]
        if schemas == "flat":
            assert shown["properties"]["text"] == {"type": "string", "description": "what to say"}
            assert "$defs" not in shown
        else:
            assert shown == RICH["inputSchema"]
        said = client.request("tools/call", {"name": "echo", "arguments": {"text": "hello"}})
        assert said.result["content"] == [{"type": "text", "text": "hello"}]
        assert said.verification["verdict"] == "observed"
