"""How the gateway gets into a server that wants a login: its configuration and its file, put together."""

from collections.abc import Mapping

from attest.canonical import canonical
from attest.encoding import sha256_hex
from gateway.config import Server
from gateway.errors import UserError
from gateway.home import Home
from gateway.oauth_settings import OAuthSettings
from gateway.upstream.oauth import Client, OAuth
from gateway.upstream.vault import Vault


def oauth(alias: str, server: Server, home: Home, environ: Mapping[str, str]) -> OAuth | None:
    """None for a server that OAuth is not for. Raises `UserError` where the secret is missing."""
    if server.url is None or not server.may_log_in:
        return None
    settings = server.etmcp.oauth or OAuthSettings()
    # Under another URL, or as another client, it is another login.
    name = sha256_hex(canonical([alias, server.url, settings.client_id]))[:32]
    client = Client(
        id=settings.client_id,
        secret=_secret(alias, settings, environ),
        issuer=settings.issuer,
        scopes=settings.scopes,
        metadata_url=settings.client_metadata_url,
        grant=settings.grant,
    )
    return OAuth(alias, server.url, client, Vault(home.private / "oauth" / f"{name}.json"))


def _secret(alias: str, settings: OAuthSettings, environ: Mapping[str, str]) -> str | None:
    name = settings.client_secret_env
    if name is None:
        return None
    if not environ.get(name):
        raise UserError(f'{alias}: the variable {name} is not set; put the client secret there, or correct "oauth"')
    return environ[name]
