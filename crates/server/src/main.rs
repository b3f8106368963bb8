//! The `isango` command.

// Linked in the place of `malloc` (its feature `override`), for Rust and C alike. As a global
// allocator it is asked by way of its entry for any alignment, which takes three times as long.
use mimalloc as _;

fn main() -> std::process::ExitCode {
    isango_server::cli::main()
}
