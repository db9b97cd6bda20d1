"""The forms of WebAssembly that a worker runs, each call in a fresh instance; `javascript` is one more.

A component has our world (`servers/tee/guest/world.wit`): it exports `run: func(request: string) -> string` and may
import `host: func(name: string, request: string) -> result<string, string>`. A module imports nothing and exports
`memory`, `alloc: func(size: i32) -> i32`, which says where `size` bytes may be put, and
`run: func(at: i32, size: i32) -> i64`, whose result is where its answer is (upper half) and its size (lower half).
Requests and answers are JSON in UTF-8: the arguments, and the value.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from servers.tee.sandbox.component import Program

if TYPE_CHECKING:
    from wasmtime import Engine, Memory, Module, Store, StoreContext
    from wasmtime.component import Component

Ask = Callable[[str, str], tuple[bool, str]]
"""A host call: name and request, whether it was answered, and the answer or why not. Raises `Stop`."""
Order = Mapping[str, Any]
"""What the supervisor says of one call, the request itself apart."""

_SHOWN = 5


class Stop(Exception):
    """The supervisor wants no more of this call: status and message."""


class Refused(Exception):
    """The caller's WebAssembly is not what a worker runs. One line."""


class Runnable(Protocol):
    """One program, compiled and linked."""

    def run(self, store: "Store", order: Order, request: bytes) -> tuple[bytes, int | None]:
        """What the program answers, and how much memory it had at the end, if that can be known.

        Raises wasmtime's errors and `Stop`.
        """
        ...


class ComponentProgram:
    """A component of our world. Raises `Refused` for another."""

    def __init__(self, engine: "Engine", compiled: "Component", ask: Ask) -> None:
        from wasmtime.component import Linker, Variant  # noqa: PLC0415

        def host(_: "StoreContext", name: str, request: str) -> Variant:
            answered, text = ask(name, request)
            return Variant("ok" if answered else "err", text)

        _check_component(compiled.type.imports(engine), compiled.type.exports(engine))
        self._component = compiled
        self._linker = Linker(engine)
        with self._linker.root() as root:
            root.add_func("host", host)

    def run(self, store: "Store", order: Order, request: bytes) -> tuple[bytes, int | None]:  # noqa: ARG002
        """See `Runnable`."""
        instance = self._linker.instantiate(store, self._component)
        function = instance.get_func(store, "run")
        assert function is not None  # noqa: S101  checked when it was loaded
        return function(store, request.decode()).encode(), None


class ModuleProgram:
    """A module without imports. Raises `Refused` for another."""

    def __init__(self, engine: "Engine", compiled: "Module") -> None:
        from wasmtime import Linker  # noqa: PLC0415

        _check_module(compiled)
        self._module, self._linker = compiled, Linker(engine)

    def run(self, store: "Store", order: Order, request: bytes) -> tuple[bytes, int | None]:  # noqa: ARG002
        """See `Runnable`."""
        exports = self._linker.instantiate(store, self._module).exports(store)
        memory = cast("Memory", exports["memory"])
        alloc, run = cast("dict[str, Callable[..., int]]", exports)["alloc"], cast("Any", exports["run"])
        at = alloc(store, len(request)) & _U32
        if at + len(request) > memory.data_len(store):
            raise Stop("trap", "its alloc gave a place outside its memory")
        memory.write(store, request, at)
        place = run(store, at, len(request))
        return taken(memory, store, place >> 32 & _U32, place & _U32), memory.data_len(store)


_U32 = 0xFFFF_FFFF


def taken(memory: "Memory", store: "Store", at: int, size: int) -> bytes:
    """A part of a program's memory. Raises `Stop` for one that is not in it."""
    if at + size > memory.data_len(store):
        raise Stop("trap", "its answer is not inside its memory")
    return bytes(memory.read(store, at, at + size))


def load(engine: "Engine", program: Program, compiled: Any, ask: Ask) -> Runnable:
    """What runs `program`. Raises `Refused`."""
    from servers.tee.sandbox.javascript import JavaScript  # noqa: PLC0415

    if program.form == "component":
        return ComponentProgram(engine, compiled, ask)
    return JavaScript(engine, compiled, ask) if program.role == "javascript" else ModuleProgram(engine, compiled)


def _check_component(imports: Mapping[str, Any], exports: Mapping[str, Any]) -> None:
    from wasmtime.component import FuncType, ResultType, String  # noqa: PLC0415

    text = String()

    def function(found: Any, parameters: int) -> Any:
        """The result of a function of texts; None if it is not one."""
        if not isinstance(found, FuncType) or [kind for _, kind in found.params] != [text] * parameters:
            return None
        return found.result

    if strange := sorted(set(imports) - {"host"}):
        raise Refused(_listed("the component imports what this sandbox does not have", strange))
    if "host" in imports:
        result = function(imports["host"].ty, 2)
        if not isinstance(result, ResultType) or (result.ok, result.err) != (text, text):
            raise Refused(
                "the component's import host is not func(name: string, request: string) -> result<string, string>"
            )
    if "run" not in exports or function(exports["run"].ty, 1) != text:
        raise Refused("the component does not export run: func(request: string) -> string")


def _check_module(module: "Module") -> None:
    from wasmtime import FuncType, MemoryType  # noqa: PLC0415

    if strange := sorted(f"{found.module}.{found.name}" for found in module.imports):
        raise Refused(_listed("the module imports what this sandbox does not have", strange))
    exports = {found.name: found.type for found in module.exports}
    if not isinstance(exports.get("memory"), MemoryType):
        raise Refused("the module does not export its memory as memory")
    for name, parameters, results in (("alloc", ["i32"], ["i32"]), ("run", ["i32", "i32"], ["i64"])):
        found = exports.get(name)
        if not isinstance(found, FuncType) or [list(map(str, found.params)), list(map(str, found.results))] != [
            parameters,
            results,
        ]:
            raise Refused(f"the module does not export {name}: ({', '.join(parameters)}) -> {results[0]}")


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(name[:100] for name in names[:_SHOWN])}{more}"
