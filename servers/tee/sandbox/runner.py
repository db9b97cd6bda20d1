"""One call in a fresh store: its fuel, its memory, its time, and what came of it. Runs in the worker."""

import threading
from typing import TYPE_CHECKING, Any

from servers.tee.sandbox.programs import Order, Runnable, Stop

if TYPE_CHECKING:
    from wasmtime import Engine

# Of one store. A component of ours has a few of each; memory is bounded in each, so there is one.
_INSTANCES, _TABLES, _TABLE_ELEMENTS = 64, 16, 100_000


class Deadline:
    """Stops the program that is running when its time is up, by moving the engine's epoch."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._order: list[float | None] = [None]  # a new object with each order, so that one can be told from the next
        threading.Thread(target=self._watch, daemon=True).start()

    def set(self, seconds: float | None) -> None:
        """Start the clock, or stop it with None. Once this returns, no earlier order moves the epoch."""
        with self._changed:
            self._order = [seconds]
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                order = self._order
                woken = self._changed.wait(order[0])
                # A timed-out wait may get the lock back after the next order was given.
                if not woken and self._order is order:
                    self._engine.increment_epoch()
                    self._order = [None]


def run(
    engine: "Engine", deadline: Deadline, program: Runnable, order: Order, request: bytes
) -> tuple[dict[str, Any], bytes]:
    """What this process says of the call, and what the program says. Never raises on the program's account."""
    from wasmtime import Store, Trap, WasmtimeError  # noqa: PLC0415

    store = Store(engine)
    store.set_limits(order["memory_bytes"], _TABLE_ELEMENTS, _INSTANCES, _TABLES, 1)
    store.set_fuel(order["fuel"])
    store.set_epoch_deadline(1)
    deadline.set(order["wall_seconds"])
    status, detail, said, memory = "ok", "", b"", None
    try:
        said, memory = program.run(store, order, request)
    except Stop as e:
        status, detail = e.args
    except UnicodeDecodeError:
        status, detail = "output", "the program's text is not UTF-8"
    except (WasmtimeError, Trap) as e:
        status, detail = _trap(str(e))
    finally:
        deadline.set(None)
    used = order["fuel"] - store.get_fuel()
    store.close()
    if len(said) > order["answer_bytes"]:
        status, detail, said = "output", "the program's answer is larger than all its limits together", b""
    return {"status": status, "detail": detail, "fuel_used": used, "memory_bytes": memory}, said


def _trap(text: str) -> tuple[str, str]:
    """Our status for a wasmtime error, and the one useful word of it."""
    cause = text.rpartition("wasm trap: ")[2]
    if "fuel" in cause:
        return "fuel", ""
    if "interrupt" in cause:
        return "deadline", ""
    if "call stack exhausted" in cause:
        return "trap", "stack"
    if "memory" in text and "exceeds" in text:
        return "memory", ""
    if "unreachable" not in cause:
        return "trap", cause[:80]
    # The first function of the C library in the backtrace is the service that was asked for.
    service = text.partition("libc.so!")[2].partition("\n")[0]
    return "trap", service[:80]
