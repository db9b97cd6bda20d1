"""The one error of a TPM, with its response codes in words."""

from collections.abc import Mapping

from servers.attesters import AttesterError

NO_SUCH_INDEX = 0x18B
"""Of TPM2_NV_ReadPublic: TPM_RC_HANDLE, and that its first handle is meant."""
_PARAMETER, _SESSION, _FORMAT_ONE = 0x040, 0x800, 0x080

_WORDS: Mapping[int, str] = {
    0x084: "a value is out of range or not what is supported",
    0x085: "the hierarchy is disabled; enable it in the firmware's settings",
    0x08A: "the key is of another type",
    0x08B: "there is no such handle; is the key persistent in this TPM?",
    0x092: "the key has no signature scheme, or another one",
    0x095: "a field has the wrong size",
    0x09C: "the key may not do that",
    0x0A2: "a password is needed; this program uses none",
    0x09A: "the TPM has not enough for what was asked",
    0x08E: "a password is needed, and wrong ones are counted; this program uses none",
    0x100: "the TPM was not started; send it TPM2_Startup",
    0x101: "the TPM failed; restart the machine, and see what the firmware says of it",
    0x107: "that PCR may not be changed from here",
    0x120: "the TPM is disabled; enable it in the firmware's settings",
    0x143: "the TPM does not know this command",
    0x148: "the area is locked",
    0x149: "the area may not be read so",
    0x14A: "the area was never written",
    0x902: "it has no memory for another object; use /dev/tpmrm0 and not /dev/tpm0, or flush what others left",
    0x903: "it has no memory for another session; use /dev/tpmrm0 and not /dev/tpm0",
    0x907: "that PCR may not be changed from here",
    0x908: "it is busy; try again",
    0x90A: "it is testing itself; try again",
    0x920: "its memory was written too often; try again later",
    0x921: "it is locked out after wrong passwords; wait",
    0x922: "it is busy; try again",
}
"""TPM_RC (Part 2, 6.6), without what says which handle, parameter or session is meant."""


class TpmError(AttesterError):
    """A TPM cannot be reached or refuses: one line that names it and says what to do.

    `code` is the TPM's response code (TPM_RC), 0 where the TPM itself said nothing.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def response(cls, where: str, command: str, code: int) -> "TpmError":
        """The TPM at `where` answered `command` with `code`."""
        base = code & 0x0BF if code & _FORMAT_ONE else code
        words = _WORDS.get(base, "see TPM_RC in the TPM 2.0 Library, Part 2")
        place = ""
        if code & _FORMAT_ONE and (number := code >> 8 & 0x7 if not code & _PARAMETER else code >> 8 & 0xF):
            kind = "parameter" if code & _PARAMETER else "session" if code & _SESSION else "handle"
            place = f", {kind} {number}"
        return cls(f"the TPM at {where} refuses {command}{place}: {words} (TPM_RC {code:#05x})", code)
