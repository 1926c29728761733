//! The program: argv to configuration to run. Which of Nova's proxies it is, its own name says.

#![deny(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use consolegate::control::{config, token_tool};

mod serve;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    // Nova's proxies have no subcommands: the word counts only under a name that is none of theirs.
    if config::Program::of(&argv).is_none() && argv.get(1).is_some_and(|word| word == "token") {
        return token_tool::main(&argv[2..]);
    }
    match config::load(&argv, &|name| std::env::var_os(name)) {
        Ok(config) => serve::serve(&config, argv),
        Err(exit) => {
            print!("{}", exit.stdout);
            eprint!("{}", exit.stderr);
            ExitCode::from(exit.status)
        }
    }
}
