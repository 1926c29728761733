//! What `--help` and usage errors print.

use super::argv::{Flag, flags};
use super::program::Program;

const WIDTH: usize = 79;
/// Column where the explanations start
const HELP_COLUMN: usize = 24;

/// The first lines of a usage error, and of `--help`.
pub(super) fn usage(program: Program) -> String {
    let mut usage = format!("usage: {}", program.name());
    let indent = usage.len();
    let mut column = indent;
    for flag in shown_flags(program) {
        let item = format!("[{}]", invocations(&flag).next().unwrap_or_default());
        if column + 1 + item.len() > WIDTH {
            usage.push('\n');
            usage.push_str(&" ".repeat(indent));
            column = indent;
        }
        usage.push(' ');
        usage.push_str(&item);
        column += 1 + item.len();
    }
    usage.push('\n');
    usage
}

/// What `--help` prints.
pub(super) fn help(program: Program) -> String {
    let mut help = usage(program);
    help.push_str("\noptions:\n");
    for flag in shown_flags(program) {
        let names = format!("  {}", invocations(&flag).collect::<Vec<_>>().join(", "));
        help.push_str(&names);
        let mut column = names.len();
        if column + 2 > HELP_COLUMN {
            help.push('\n');
            column = 0;
        }
        for (index, line) in wrap(&flag.help, WIDTH - HELP_COLUMN).iter().enumerate() {
            let indent = if index == 0 { HELP_COLUMN - column } else { HELP_COLUMN };
            help.push_str(&" ".repeat(indent));
            help.push_str(line);
            help.push('\n');
        }
    }
    help
}

/// What the program prints when it cannot tell which of Nova's programs to be.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "usage: consolegate --mode NAME [options]\n\n\
         A drop-in replacement for the console proxies of OpenStack Nova. Started under the name of\n\
         one of them it is that one, and --mode does the same:\n\n",
    );
    for program in Program::ALL {
        text.push_str(&format!("  {:<22}{} consoles\n", program.name(), program.console_type()));
    }
    text.push_str(
        "\nconsolegate --mode NAME --help shows the options of one.\n\nSubcommands, each with --help:\n\n  \
         consolegate options   every option, its value and where that comes from\n  \
         consolegate token     makes, lists and revokes console tokens, for demonstrations\n",
    );
    text
}

/// Those with something to say; the others are left from old releases.
pub(super) fn shown_flags(program: Program) -> impl Iterator<Item = Flag> {
    flags(program).into_iter().filter(|flag| !flag.help.is_empty())
}

/// `--config-dir DIR` for each spelling. Flags without a usual spelling show their exact ones.
fn invocations(flag: &Flag) -> impl Iterator<Item = String> {
    flag.shown().iter().map(|spelling| match &flag.placeholder {
        Some(placeholder) => format!("{spelling} {placeholder}"),
        None => spelling.clone(),
    })
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_flag_with_its_spellings() {
        let help = help(Program::NoVncProxy);
        assert!(help.starts_with("usage: nova-novncproxy "), "{help}");
        for shown in [
            "  -h, --help            show this help message and exit\n",
            "  --debug, -d           Log at DEBUG instead of INFO\n",
            "  --nodebug             The inverse of --debug\n",
            "  --web WEB             Directory of the web files",
            "  --log-file LOG_FILE, --logfile LOG_FILE\n",
            "  --vnc-novncproxy_port VNC_NOVNCPROXY_PORT\n                        Port to listen on\n",
            "  --mode NAME           Behave as",
        ] {
            assert!(help.contains(shown), "{shown:?} is missing from\n{help}");
        }
        assert!(!help.contains("html5proxy_port") && !help.contains("verbose"), "{help}");
        assert!(usage(Program::NoVncProxy).lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn the_overview_names_every_program() {
        for program in Program::ALL {
            assert!(overview().contains(program.name()));
        }
        assert!(overview().contains("  consolegate options ") && overview().contains("  consolegate token "));
    }
}
