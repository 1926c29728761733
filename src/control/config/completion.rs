//! What `--shell_completion` prints: a script by which bash or zsh complete the program's flags.
//!
//! oslo.config's own scripts (`oslo_config/cfg.py`, `ConfigOpts._print_shell_completion`) know the options' flags
//! and their choices. These know files and directories too.

use super::argv::{Flag, Takes};
use super::help::shown_flags;
use super::program::Program;

/// The script for `shell`; none for a shell that oslo.config does not know either.
pub(super) fn script(program: Program, shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash(program)),
        "zsh" => Some(zsh(program)),
        _ => None,
    }
}

/// Bash takes `--flag=value` apart into three words, since `=` is one of `COMP_WORDBREAKS`.
fn bash(program: Program) -> String {
    let name = program.name();
    let function = format!("_{}", name.replace('-', "_"));
    let flags: Vec<Flag> = shown_flags(program).collect();
    let all: Vec<&str> = flags.iter().flat_map(|flag| flag.shown()).map(String::as_str).collect();
    let mut cases = String::new();
    for flag in &flags {
        let action = match flag.takes {
            Takes::Nothing => continue,
            Takes::File => "compopt -o filenames 2>/dev/null; words=$(compgen -f -- \"$cur\")".to_owned(),
            Takes::Directory => {
                "compopt -o filenames 2>/dev/null; words=$(compgen -d -- \"$cur\")".to_owned()
            }
            Takes::OneOf(choices) => format!("words=$(compgen -W '{}' -- \"$cur\")", choices.join(" ")),
            Takes::Anything => "words=".to_owned(),
        };
        cases.push_str(&format!("        {}) {action} ;;\n", flag.shown().join("|")));
    }
    format!(
        "# bash completion of {name}\n\
         {function}() {{\n    \
             local cur=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD-1]}} words\n    \
             case $cur in =) cur= ;; esac\n    \
             case $flag in =) flag=${{COMP_WORDS[COMP_CWORD-2]}} ;; esac\n    \
             case $flag in\n\
         {cases}        \
             *) words=$(compgen -W '{all}' -- \"$cur\") ;;\n    \
             esac\n    \
             COMPREPLY=()\n    \
             [ -z \"$words\" ] || mapfile -t COMPREPLY <<<\"$words\"\n\
         }}\n\
         complete -F {function} {name}\n",
        all = all.join(" "),
    )
}

fn zsh(program: Program) -> String {
    let name = program.name();
    let mut arguments = String::new();
    for flag in shown_flags(program) {
        let names = flag.shown();
        let once = if flag.adds_up() { "*".to_owned() } else { format!("({})", names.join(" ")) };
        let help = zsh_escaped(&flag.help);
        let value = match flag.takes {
            Takes::Nothing => String::new(),
            takes => {
                let completer = match takes {
                    Takes::File => "_files".to_owned(),
                    Takes::Directory => "_files -/".to_owned(),
                    Takes::OneOf(choices) => format!("({})", choices.join(" ")),
                    Takes::Nothing | Takes::Anything => " ".to_owned(),
                };
                format!(":{}:{completer}", flag.placeholder.as_deref().unwrap_or("value"))
            }
        };
        // The sign says that the value is the next word, or behind `=` in the same one.
        let sign = if value.is_empty() { "" } else { "=" };
        for one in names {
            let sign = if one.starts_with("--") { sign } else { "" };
            arguments.push_str(&format!(" \\\n        '{once}{one}{sign}[{help}]{value}'"));
        }
    }
    format!(
        "#compdef {name}\n\
         _{name}() {{\n    \
             _arguments -s{arguments}\n\
         }}\n\
         # Read as a file of $fpath it is the function itself; by `source` it has to be made known.\n\
         if [ \"$funcstack[1]\" = _{name} ]; then\n    \
             _{name} \"$@\"\n\
         else\n    \
             compdef _{name} {name}\n\
         fi\n"
    )
}

/// For the inside of `[…]` in single quotes.
fn zsh_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\'' => escaped.push_str("'\\''"),
            '[' | ']' | '\\' => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shells_of_oslo_config_have_a_script() {
        for shell in ["fish", "", "Bash"] {
            assert_eq!(script(Program::NoVncProxy, shell), None);
        }
    }

    #[test]
    fn help_texts_stay_inside_their_brackets() {
        assert_eq!(zsh_escaped("the program's [a] \\"), "the program'\\''s \\[a\\] \\\\");
    }
}
