"""A machine with a TEE, but for the TEE: the kernel's interfaces to it in a folder, and reports by a fake vendor.

    with fake_configfs("tdx_guest", FakeIntel(now), mrtd=...) as place:
        etmcp-tee http --attester tdx --reports {place.reports}

`etmcp-tee launch --measurements {place.measurements}` extends an RTMR that is then in the quotes.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from tests.pki.amd import FakeAmd
from tests.pki.intel import FakeIntel
from tests.support.peers import absent
from tests.tsm.kernel import Mint, Rtmrs, error

Provider = Literal["tdx_guest", "sev_guest", "arm_cca_guest"]
ROOT = Path(__file__).parents[2]
WAIT_S = 30


@dataclass(frozen=True)
class Place:
    """Where the machine's interfaces are. `claims` are what reports say beside report_data, the arguments of
    `FakeIntel.quote` or `FakeAmd.report`; a test may change them while it runs. With `errno` there are no reports."""

    folder: Path
    claims: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def reports(self) -> Path:
        """As `/sys/kernel/config/tsm/report`."""
        return self.folder / "report"

    @property
    def measurements(self) -> Path:
        """As `/sys/devices/virtual/misc/tdx_guest/measurements`."""
        return self.folder / "measurements"


def minting(pki: FakeIntel | FakeAmd, claims: dict[str, Any], *, table: bool = True) -> Mint:
    """The firmware that this vendor's machine has; with `table` a host hands the certificates of a chip over."""

    def quote(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
        assert isinstance(pki, FakeIntel)
        said: dict[str, Any] = {"report_data": inblob, **claims}
        said["rtmrs"] = {**rtmrs, **claims.get("rtmrs", {})}
        return pki.quote(**said), b""

    def report(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
        assert isinstance(pki, FakeAmd)
        said: dict[str, Any] = {"report_data": inblob, "vmpl": privilege, **claims}
        return pki.report(**said), pki.table() if table else b""

    return quote if isinstance(pki, FakeIntel) else report


@contextmanager
def fake_configfs(
    provider: Provider, pki: FakeIntel | FakeAmd, *, floor: int | None = None, **claims: Any
) -> Generator[Place]:
    """The machine, until the end; skips, saying why, where there is no FUSE.

    A process of its own serves the folder, and a thread of this one makes the reports. `floor` is the least privilege
    level of a `sev_guest`, 0 unless told.
    """
    if not Path("/dev/fuse").exists() or shutil.which("fusermount3") is None:
        absent("fuse3", "/dev/fuse or the Debian package fuse3")
    level = str(floor or 0) if provider == "sev_guest" else ""
    with tempfile.TemporaryDirectory(prefix="etmcp-tsm-") as folder:
        place = Place(Path(folder).resolve(), claims)
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.tsm.mount", str(place.folder), str(theirs.fileno()), provider, level]
        with (
            ours,
            subprocess.Popen(
                command, cwd=ROOT, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True
            ) as process,
        ):
            theirs.close()
            ours.settimeout(WAIT_S)
            stream = ours.makefile("rwb")
            if not stream.readline():  # it ended without having served
                _, said = process.communicate(timeout=WAIT_S)
                absent("fuse3", f"a file system of our own: {said.strip()[-200:]}")
            ours.settimeout(None)
            minter = threading.Thread(target=_mint, args=(stream, minting(pki, claims), claims))
            minter.start()
            try:
                yield place
            finally:
                subprocess.run(["fusermount3", "-u", "-z", folder], check=False, capture_output=True)
                process.kill()  # a sandbox that was made meanwhile has the mount too, and would keep it waiting
                minter.join()


def _mint(stream: IO[bytes], mint: Mint, claims: dict[str, Any]) -> None:
    """Answer each request until the other end is gone."""
    while line := stream.readline():
        asked = json.loads(line)
        rtmrs = {index: bytes.fromhex(value) for index, value in enumerate(asked["rtmrs"])}
        try:
            if "errno" in claims:
                raise error(claims["errno"])
            outblob, auxblob = mint(bytes.fromhex(asked["inblob"]), asked["privilege"], rtmrs)
            told: dict[str, Any] = {"outblob": outblob.hex(), "auxblob": auxblob.hex()}
        except OSError as e:
            told = {"errno": e.errno}
        try:
            stream.write(json.dumps(told).encode() + b"\n")
            stream.flush()
        except OSError:
            return
