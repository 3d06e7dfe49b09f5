//! wasmtime: engine, ahead-of-time cache, instance limits and wasi:http dispatch
