"""JavaScript: QuickJS-ng as a WebAssembly module (quickjs-rs), with a clock and randomness that the job decides.

The module asks for twelve functions. What a program can notice is answered from the job: clock, randomness, host calls.
The rest is refused as WASI's ENOSYS, which QuickJS takes calmly. `javascript.js` is what a program finds around it.
"""

import hashlib
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from servers.tee.sandbox.programs import Ask, Order, Stop, taken

if TYPE_CHECKING:
    from wasmtime import Engine, Global, Instance, Memory, Module, Store

_WASI = "wasi_snapshot_preview1"
_DONE, _NO_SUCH = 0, 52  # errno: success, nosys
_READ_NS = 1000  # each reading moves the clock, so that a loop that waits for time to pass ends
_JS_ERROR = 1
_NULL = 0
_PAGE = 64 << 10
_START_FUEL = 10**9
_HOST = b"__host"


class JavaScript:
    """A `programs.Runnable` of the pinned module."""

    def __init__(self, engine: "Engine", module: "Module", ask: Ask) -> None:
        from wasmtime import FuncType, Linker, ValType  # noqa: PLC0415

        self._module, self._linker, self._ask = module, Linker(engine), ask
        self._call: _Call | None = None  # the one that runs; set by `_calling`
        i32, i64 = ValType.i32(), ValType.i64()

        def define(where: str, name: str, parameters: list[Any], function: Callable[..., int]) -> None:
            self._linker.define_func(where, name, FuncType(parameters, [i32]), function)

        def back(method: Callable[..., int]) -> Callable[..., int]:
            def called(*given: int) -> int:
                return method(self._running, *given)

            return called

        def always(result: int) -> Callable[..., int]:
            def called(*_: int) -> int:
                return result

            return called

        def leave(_: int) -> None:
            raise Stop("trap", "exit")

        define(_WASI, "random_get", [i32, i32], back(_Call.random))
        define(_WASI, "clock_time_get", [i32, i64, i32], back(_Call.clock))
        define(_WASI, "environ_sizes_get", [i32, i32], back(_Call.no_environment))
        define(_WASI, "environ_get", [i32, i32], always(_DONE))
        for name, parameters in (
            ("fd_close", [i32]),
            ("fd_fdstat_get", [i32, i32]),
            ("fd_seek", [i32, i64, i32, i32]),
            ("fd_write", [i32, i32, i32, i32]),
        ):
            define(_WASI, name, parameters, always(_NO_SUCH))
        self._linker.define_func(_WASI, "proc_exit", FuncType([i32], []), leave)
        define("env", "host_interrupt", [], always(0))  # fuel and deadline are the engine's
        define("env", "host_module_normalize", [i32] * 5, always(_NULL))
        define("env", "host_module_load", [i32] * 3, always(_NULL))
        define("env", "host_call", [i32] * 5, back(_Call.host))
        self._image = self._started(engine)

    @property
    def _running(self) -> "_Call":
        assert self._call is not None  # noqa: S101  nothing calls back outside of `_calling`
        return self._call

    def run(self, store: "Store", order: Order, request: bytes) -> tuple[bytes, int | None]:
        """See `Runnable`."""
        with self._calling(store, order) as call:
            return call.answer(self._image, request), call.memory.data_len(store)

    def _started(self, engine: "Engine") -> "_Image":
        """The module's memory once QuickJS and the prelude are in it: where every call starts."""
        from wasmtime import Store  # noqa: PLC0415

        # Its lines are numbered from 100,001 on, by which a program's stack traces leave them out.
        prelude = b"\n" * 100_000 + (resources.files("servers.tee.sandbox") / "javascript.js").read_bytes()
        store = Store(engine)
        store.set_fuel(_START_FUEL)
        store.set_epoch_deadline(1)
        with self._calling(store, {"seed": "", "clock_ms": 0}) as call:
            return call.start(prelude)

    @contextmanager
    def _calling(self, store: "Store", order: Order) -> Generator["_Call"]:
        self._call = _Call(store, order, self._ask)
        try:
            self._call.begin(self._linker.instantiate(store, self._module))
            yield self._call
        finally:
            self._call = None


class _Image(NamedTuple):
    memory: bytes
    stack: int
    drive: int
    """The prelude's function, as a handle."""


class _Call:
    """One instance, and what it calls back for."""

    def __init__(self, store: "Store", order: Order, ask: Ask) -> None:
        self._store, self._ask = store, ask
        self._seed = bytes.fromhex(order["seed"])
        self._blocks = 0  # of randomness given
        self._start_ns = order["clock_ms"] * 1_000_000
        self._elapsed_ns = 0

    def begin(self, instance: "Instance") -> None:
        """Take the instance before anything in it runs."""
        exports = instance.exports(self._store)
        self._exports = cast("dict[str, Callable[..., int]]", exports)
        self.memory = cast("Memory", exports["memory"])
        self._stack = cast("Global", exports["__stack_pointer"])

    def start(self, prelude: bytes) -> _Image:
        """Start the interpreter and what a program finds around it."""
        name = self._put(_HOST)
        self._export("set_prop", self._export("global_object"), name, len(_HOST), self._function(_HOST))
        drive, failed = self._evaluate(prelude)
        if failed:
            raise Stop("trap", "prelude")
        size = self.memory.data_len(self._store)
        return _Image(bytes(self.memory.read(self._store, 0, size)), cast("int", self._stack.value(self._store)), drive)

    def answer(self, image: _Image, request: bytes) -> bytes:
        """The envelope of the request's program, run from `image`."""
        missing = len(image.memory) - self.memory.data_len(self._store)
        if missing > 0:
            self.memory.grow(self._store, -(-missing // _PAGE))
        self.memory.write(self._store, image.memory)
        self._stack.set_value(self._store, image.stack)
        code = self._text(self._drive(image.drive, "start", request))
        value, failed = self._evaluate(code)
        said = self._text(self._drive(image.drive, "failed" if failed else "finish", value))
        while not said:  # a promise: let what waits run, in the order and at the time that it waits for
            self._export("execute_pending_jobs")
            said = self._text(self._drive(image.drive, "turn", b""))
        return said

    def random(self, at: int, size: int) -> int:
        """SHA-256 in counter mode over the seed."""
        out = bytearray()
        if not 0 <= size <= 4096:
            return _NO_SUCH
        while len(out) < size:
            out += hashlib.sha256(self._seed + self._blocks.to_bytes(8)).digest()
            self._blocks += 1
        return self._write(at, bytes(out[:size]))

    def clock(self, clock: int, _precision: int, at: int) -> int:
        """The job's time (clock 0) or the time since its start."""
        self._elapsed_ns += _READ_NS
        return self._write(at, struct.pack("<Q", self._elapsed_ns + (self._start_ns if clock == 0 else 0)))

    def no_environment(self, count: int, size: int) -> int:
        """No variable, of no bytes."""
        return self._write(count, bytes(4)) or self._write(size, bytes(4))

    def host(self, name_at: int, name_size: int, _this: int, count: int, handles_at: int) -> int:
        """What the prelude asks for: `sleep` and milliseconds, or `ask`, a name and a request."""
        if self._read(name_at, name_size) != _HOST or not 1 <= count <= 3:
            return -1
        handles = struct.unpack(f"<{count}i", self._read(handles_at, 4 * count))
        what, *rest = (self._text(handle).decode() for handle in handles)
        match what, rest:
            case "sleep", [milliseconds]:
                self._elapsed_ns += int(min(max(float(milliseconds), 0.0), 1e13) * 1e6)
                return self._string(b"")
            case "ask", [name, request]:
                answered, text = self._ask(name, request)
                return self._string(("+" if answered else "-").encode() + text.encode())
            case _:
                return -1

    def _drive(self, drive: int, step: str, given: bytes | int) -> int:
        """One step of the prelude, with a text or a value."""
        second = self._string(given) if isinstance(given, bytes) else given
        arguments = self._put(struct.pack("<ii", self._string(step.encode()), second))
        out = self._export("qjs_alloc", 4)
        status = self._export("call_function", drive, self._export("new_undefined"), arguments, 2, out)
        if status:
            raise Stop("trap", "prelude")
        return self._handle(out)

    def _evaluate(self, code: bytes) -> tuple[int, bool]:
        """The value of a script, or what it threw, and whether it threw."""
        out = self._export("qjs_alloc", 4)
        status = self._export("eval_code", self._put(code), len(code), out)
        if status == _JS_ERROR:
            self._export("last_exception", out)
        elif status:
            raise Stop("output", f"the script is more than the interpreter takes, or no text ({status})")
        return self._handle(out), status == _JS_ERROR

    def _text(self, handle: int) -> bytes:
        if self._export("get_string", handle):
            raise Stop("trap", "prelude")
        size = self._export("qjs_last_len") & 0xFFFF_FFFF
        said = taken(self.memory, self._store, self._export("qjs_last_ptr") & 0xFFFF_FFFF, size)
        self._export("qjs_result_free")
        return said

    def _string(self, text: bytes) -> int:
        at = self._put(text)
        handle = self._export("new_string", at, len(text))
        self._export("qjs_free", at, len(text) or 1)
        if handle == _NULL:
            raise Stop("memory", "")
        return handle

    def _function(self, name: bytes) -> int:
        return self._export("new_function", self._put(name), len(name))

    def _handle(self, at: int) -> int:
        return struct.unpack("<i", self._read(at, 4))[0]

    def _put(self, data: bytes) -> int:
        at = self._export("qjs_alloc", len(data) or 1) & 0xFFFF_FFFF
        if at == _NULL or self._write(at, data):
            raise Stop("memory", "")
        return at

    def _read(self, at: int, size: int) -> bytes:
        return taken(self.memory, self._store, at & 0xFFFF_FFFF, size & 0xFFFF_FFFF)

    def _write(self, at: int, data: bytes) -> int:
        if (at & 0xFFFF_FFFF) + len(data) > self.memory.data_len(self._store):
            return _NO_SUCH
        self.memory.write(self._store, data, at & 0xFFFF_FFFF)
        return _DONE

    def _export(self, name: str, *arguments: int) -> int:
        return self._exports[name](self._store, *arguments)
