//! wasi:nn for guests, bound to the model table
