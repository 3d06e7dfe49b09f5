//! The `headland` command.
fn main() {}
