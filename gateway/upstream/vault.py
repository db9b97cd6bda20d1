"""One server's tokens and registration on disk: a file for this user alone, replaced as a whole."""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.upstream.credentials import Challenge

LOCK_POLL = 0.05


class Record(BaseModel):
    """What is known of one server: our tokens and registration, where they came from, and what it refused last."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    tokens: OAuthToken | None = Field(default=None, repr=False)
    client: OAuthClientInformationFull | None = Field(default=None, repr=False)
    metadata: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None
    challenge: Challenge | None = None


class Vault:
    """The file at `path`, whose folder is made with mode 0700. All methods raise OSError where the disk does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Record:
        """Return what is there; an empty record where there is nothing, or nothing that can be understood."""
        try:
            return Record.model_validate_json(self.path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return Record()

    def write(self, record: Record) -> None:
        """Replace what is there: after a crash the file holds either the old or the new. Call with the lock held."""
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)  # of a process that died here, maybe with another mode
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(record.model_dump_json(exclude_none=True).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None]:
        """Keep the other gateways of this user out: of two that refresh one token, the second would spoil both."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(LOCK_POLL)
            yield
        finally:
            os.close(descriptor)
