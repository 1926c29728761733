//! `--shell_completion`: what the real shells make of the scripts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::{directory, discard, run};

const PROGRAMS: [&str; 3] = ["nova-novncproxy", "nova-spicehtml5proxy", "nova-serialproxy"];

/// The script, in a file of `directory`.
fn script(directory: &Path, name: &str, shell: &str) {
    let (status, stdout, stderr) = run(directory, name, &["--shell_completion", shell]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    fs::write(directory.join("script"), stdout).unwrap();
}

/// Runs `code` and returns what it printed.
fn shell(directory: &Path, shell: &str, arguments: &[&str]) -> String {
    let output = Command::new(shell)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|reason| panic!("{shell}: {reason}; scripts/install installs it"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for the last of `words`, by the function that `complete` names.
fn bash_offers(directory: &Path, name: &str, words: &[&str]) -> BTreeSet<String> {
    const CODE: &str = "source ./script; name=$1; shift; spec=$(complete -p \"$name\"); spec=${spec#* -F }; \
        COMP_WORDS=(\"$name\" \"$@\") COMP_CWORD=$#; \"${spec%% *}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let arguments = [&["--norc", "--noprofile", "-c", CODE, "bash", name], words].concat();
    shell(directory, "bash", &arguments).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The long flags that `--help` shows.
fn flags(directory: &Path, name: &str) -> BTreeSet<String> {
    let help = run(directory, name, &["--help"]).1;
    let options = help.split("\noptions:\n").nth(1).unwrap();
    let names =
        options.lines().filter(|line| line.starts_with("  -")).flat_map(|line| line.split([' ', ',']));
    names.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_flag_and_what_stands_behind_it() {
    let directory = directory();
    fs::write(directory.join("my nova.conf"), "").unwrap();
    fs::create_dir(directory.join("my.d")).unwrap();
    for name in PROGRAMS {
        script(&directory, name, "bash");
        let offers = |words: &[&str]| bash_offers(&directory, name, words);
        assert_eq!(offers(&["--"]), flags(&directory, name), "{name}");
        assert!(flags(&directory, name).len() > 20);
        assert_eq!(offers(&["-d", "--ssl"]), set(&["--ssl_only"]));
        assert_eq!(offers(&["--config-file", "my"]), set(&["my nova.conf", "my.d"]));
        assert_eq!(offers(&["--config-dir", ""]), set(&["my.d"]));
        // As bash takes `--mode=nova-s` apart.
        assert_eq!(offers(&["--mode", "=", "nova-s"]), set(&["nova-serialproxy", "nova-spicehtml5proxy"]));
        assert_eq!(offers(&["--shell_completion", "="]), set(&["bash", "zsh"]));
        assert_eq!(offers(&["--nowhere", "zzz"]), set(&[]));
    }
    discard(&directory);
}

/// A terminal with a shell in it, since zsh completes in its line editor alone. Two tabs: the second lists.
const ZSH: &str = r#"
zmodload zsh/zpty
wait_for() {
    local piece seen=
    local -i until=$((SECONDS + 60))
    while [[ $seen != *$1* ]]; do
        if zpty -r -t shell piece; then seen+=$piece; else sleep 0.02; fi
        (( SECONDS > until )) && { print -r -- "no $1 in: $seen" >&2; exit 9 }
    done
    print -r -- "$seen"
}
zpty shell zsh -f -i
zpty -w shell 'PS1=; autoload -U compinit; compinit -u -D; COLUMNS=200; LINES=500; source ./script; print REA""DY'
wait_for READY >/dev/null
zpty -w -n shell "$1"$'\t\t'
wait_for "$2"
zpty -d shell
"#;

/// Fails unless zsh shows `shown` when it completes `line`.
fn zsh_shows(directory: &Path, line: &str, shown: &str) {
    let seen = shell(directory, "zsh", &["-f", "-c", ZSH, "zsh", line, shown]);
    assert!(seen.contains(shown), "{seen}");
}

#[test]
fn zsh_completes_flags_and_what_stands_behind_them() {
    let directory = directory();
    fs::write(directory.join("very-own.conf"), "").unwrap();
    for name in PROGRAMS {
        script(&directory, name, "zsh");
        let text = fs::read_to_string(directory.join("script")).unwrap();
        for flag in flags(&directory, name) {
            assert!(
                [")", "*"].iter().any(|before| text.contains(&format!("{before}{flag}"))),
                "{name} {flag}"
            );
        }
        zsh_shows(&directory, &format!("{name} --ssl"), "_only");
    }
    // The script of the last of them.
    zsh_shows(&directory, "nova-serialproxy --mode nova-no", "vncproxy");
    zsh_shows(&directory, "nova-serialproxy --config-file=very", "-own.conf");
    zsh_shows(&directory, "nova-serialproxy --log-", "File to log to");
    discard(&directory);
}

#[test]
fn it_acts_as_the_first_argument_only() {
    let directory = directory();
    fs::write(directory.join("empty.conf"), "[DEFAULT]\nweb = /nowhere\n").unwrap();
    let name = "nova-novncproxy";
    let starts = "Can not find html/js files at /nowhere.";
    for (arguments, status, text) in [
        // Nothing behind it is looked at.
        (&["--shell_completion", "bash", "--bogus"][..], 0, "complete -F _nova_novncproxy nova-novncproxy"),
        (&["--shell_completion", "zsh"], 0, "#compdef nova-novncproxy"),
        (&["--shell_completion"], 2, "argument --shell_completion: expected one argument"),
        (&["--shell_completion", "fish"], 1, "argument --shell_completion: Invalid String"),
        (&["--config-file", "empty.conf", "--shell_completion", "bash"], 255, starts),
        (&["--shell_completion=bash", "--config-file", "empty.conf"], 255, starts),
    ] {
        let (got, stdout, stderr) = run(&directory, name, arguments);
        assert_eq!(got, status, "{arguments:?}: {stdout}{stderr}");
        let said = if status == 0 { stdout } else { stderr };
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
    discard(&directory);
}
