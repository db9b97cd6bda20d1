"""A small weather server. Only two lines of it are about proof: the import of `prove`, and its call.

python server.py             over stdio, for a client or gateway that starts it
python server.py http 8500   over HTTP at /mcp; says on stderr which key vouches for it
"""

import sys
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

from servers.prove import prove

CLIMATE = {"Bern": (1.5, 14), "Nairobi": (19.0, 9), "Reykjavik": (0.5, 15)}

server: MCPServer[Any] = MCPServer("weather", version="1.0.0")
attester = prove(server)


class Forecast(BaseModel):
    """Of one city for tomorrow."""

    city: str
    celsius: float
    rainy_days: int


class Consent(BaseModel):
    """What the user says to the question."""

    agreed: bool


@server.tool()
def forecast(city: str, warmer_by: float = 0) -> Forecast:
    """Tomorrow in one city."""
    if city not in CLIMATE:
        raise ToolError(f"no station in {city}; weather://cities lists them")
    celsius, rainy_days = CLIMATE[city]
    return Forecast(city=city, celsius=celsius + warmer_by, rainy_days=rainy_days)


@server.tool()
def average() -> float:
    """The mean over all stations. It has a bug, as any server may."""
    return sum(celsius for celsius, _ in CLIMATE.values()) / (len(CLIMATE) - 3)


def ask(city: str) -> Elicit[Consent]:
    """The question that comes before an alert is sent."""
    return Elicit(f"Send a storm alert to all of {city}?", Consent)


@server.tool()
def alert(city: str, consent: Annotated[Consent, Resolve(ask)]) -> str:
    """Warn a city, if the user agrees."""
    return f"{city} was warned" if consent.agreed else f"{city} was not warned"


@server.resource("weather://cities", mime_type="text/plain")
def cities() -> str:
    """Where there are stations."""
    return "\n".join(CLIMATE)


@server.resource("weather://climate/{city}", mime_type="text/plain")
def climate(city: str) -> str:
    """Mean temperature of one city."""
    return f"{CLIMATE[city][0]} degrees Celsius"


@server.prompt()
def pack(city: str) -> str:
    """Ask a model what to pack."""
    return f"I travel to {city} tomorrow. Look up the forecast and tell me what to pack."


def main() -> None:
    """Serve until the client hangs up, or until interrupted."""
    if sys.argv[1:2] == ["http"]:
        print(f"attester {(attester or b'').hex()}", file=sys.stderr, flush=True)
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
