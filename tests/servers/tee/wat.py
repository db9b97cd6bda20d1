"""WebAssembly of a caller's, in text: what the sandbox takes, and what it refuses."""

from wasmtime import wat2wasm

COMPONENT = r"""(component
  (import "host" (func $host (param "name" string) (param "request" string) (result (result string (error string)))))
  (core module $libc
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $host_core (canon lower (func $host) (memory $memory) (realloc $realloc)))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "host" (func $host (param i32 i32 i32 i32 i32)))
    (data (i32.const 16) "echo")
    (func (export "run") (param i32 i32) (result i32)
      (call $host (i32.const 16) (i32.const 4) (local.get 0) (local.get 1) (i32.const 64))
      (i32.store (i32.const 32) (i32.load (i32.const 68)))
      (i32.store (i32.const 36) (i32.load (i32.const 72)))
      (i32.const 32)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "host" (func $host_core))))))
  (alias core export $main "run" (core func $run))
  (func (export "run") (param "request" string) (result string)
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
"""
"""Gives back what its host answers to the call `echo` with its own request."""

MODULE = r"""(module
  (memory (export "memory") 2)
  (func (export "alloc") (param $size i32) (result i32) (i32.const 1024))
  (func (export "run") (param $at i32) (param $size i32) (result i64)
    %s
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $size)))))
"""


def module(body: str = "") -> bytes:
    """A module that gives back its request, after `body`, in which `$at` and `$size` can be set."""
    return binary(MODULE % body)


def binary(text: str) -> bytes:
    """The binary form."""
    return bytes(wat2wasm(text))
