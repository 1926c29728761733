//! The program: argv to configuration to run.
fn main() {}
