//! The program: argv to configuration to run. Which of Nova's proxies it is, its own name says.

#![deny(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use consolegate::control::{config, options_tool, token_tool};

mod serve;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    // Nova's proxies have no subcommands: the word counts only under a name that is none of theirs.
    if config::Program::of(&argv).is_none()
        && let Some((word, rest)) = argv.get(1..).and_then(<[OsString]>::split_first)
    {
        match word.to_str() {
            Some("token") => return token_tool::main(rest),
            Some("options") => return options_tool::main(rest),
            _ => {}
        }
    }
    if config::asks_for_check(&argv) {
        return serve::check(&argv);
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
