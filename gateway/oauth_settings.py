"""Who the gateway is to a server's authorization server."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]  # RFC 6749 section 3.3


class OAuthSettings(BaseModel):
    """Who the gateway is to a server's authorization server; without it, what that server's metadata leads to.

    The secret is never in the file: `clientSecretEnv` names the environment variable that holds it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    client_id: str | None = None
    client_secret_env: str | None = None
    issuer: Url | None = None
    scopes: tuple[Scope, ...] = ()
    client_metadata_url: Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+/\S+$")] | None = None
    grant: Literal["authorization_code", "client_credentials"] = "authorization_code"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # A server names its authorization server itself: without the issuer it could have the secret sent anywhere.
        if self.client_secret_env and not (self.client_id and self.issuer):
            raise ValueError('"clientSecretEnv" needs "clientId" and the "issuer" that the secret is for')
        if self.grant == "client_credentials" and not self.client_secret_env:
            raise ValueError('"client_credentials" needs "clientId", "clientSecretEnv" and "issuer"')
        return self
