//! Hundreds of configurations out of a seed: every option that both sides have, with every text of a pool for
//! every kind of option, and every rule of the grammar, whole and broken, over files, directories, variables
//! and flags.

use std::collections::{BTreeMap, BTreeSet};

use consolegate::control::config::{DEFAULT, Kind, OptionDef, Program, options};

use super::peer::{Case, Difference, Got, Known, Outcome, differences, known, name_of, outcomes};
use super::rules::{Example, RULES};

/// Of the generator below. `CONSOLEGATE_CONFIG_SEED` is another one.
const SEED: u64 = 0x05_1000_2026;
/// Options whose texts are set in one file.
const OPTIONS_PER_FILE: usize = 30;

/// A difference on purpose: why, and what it looks like.
type Reason = (&'static str, fn(&Case, &Difference) -> bool);

const REASONS: &[Reason] = &[
    ("where Nova is installed, and which process it is, is nothing here", |_, found| {
        found.is_of_the_installation()
    }),
    ("the library for URIs prints a Python tuple, of which the reason is the first item", |_, found| {
        let Some((start, reason)) = found.ours.split_once(" is not valid: ") else { return false };
        let reason = reason.trim_end_matches(" under an old name");
        ["'", "\""].iter().any(|quote| {
            found.theirs.starts_with(&format!("{start} is not valid: ({quote}{reason}{quote}, "))
        })
    }),
    ("a stray dollar sign stays as it is, with a warning, instead of ending the start", |_, found| {
        let unknown =
            ["no such option ", "no such group "].iter().any(|start| found.theirs.starts_with(start));
        unknown && found.ours.contains('$')
    }),
    (
        "a reference takes the text of an option whose own value is wrong: that has a message of its own",
        |_, found| {
            let Some((_, name)) = found.option.split_once('.') else { return false };
            found.theirs.starts_with("Value for option ")
                && !found.theirs.starts_with(&format!("Value for option {name} "))
        },
    ),
    (
        "a reference to an old name has the option's value; oslo.config misses what stands under the new one",
        |case, found| {
            let references = ["$logdir", "$vnc_enabled", "$console_allowed_origins", "$console_token_ttl"];
            let is_one = case.files.iter().any(|(_, text)| references.iter().any(|one| text.contains(one)));
            // It also counts as the warning about that name.
            let is_warned_of_before = found.ours == format!("{} under an old name", found.theirs);
            is_one && (found.option == "DEFAULT.tempdir" || is_warned_of_before)
        },
    ),
    ("a secret is not copied into what may be shown", |_, found| found.ours.contains("$transport_url")),
    (
        "the documented order: oslo.config lets a variable win over a flag if a file has it too",
        |case, found| {
            let Some(option) = options().iter().find(|one| key(one) == found.option) else { return false };
            let is_variable = case.environment.iter().any(|(name, _)| *name == option.variable());
            is_variable
                && option.flag.is_some()
                && case.argv.iter().any(|one| one.starts_with(&long_name(option)))
        },
    ),
    ("the variable of an option with many values is one of them, not one per letter", |case, found| {
        found.option == "oslo_messaging_notifications.driver"
            && case.environment.iter().any(|(name, _)| name == "OS_OSLO_MESSAGING_NOTIFICATIONS__DRIVER")
    }),
    ("whole numbers end at 64 bits", |_, found| found.ours.starts_with(&i64::MAX.to_string())),
    ("a message about a file shows the line", |_, found| {
        found.theirs.contains("Section must be started before assignment")
            && found.ours.contains("Section must be started before assignment: '")
    }),
    ("an editor's byte order mark is no mistake of the operator", |_, found| {
        found.theirs.contains("ufeff[DEFAULT]")
    }),
];

/// xorshift64*: no library promises to give the same numbers for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn in_one_of(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

/// What every option is given, whatever its kind: a wrong kind in our declaration shows with these.
const TEXTS: &[&str] = &[
    "",
    " ",
    "x",
    "two words",
    "a # b",
    "é",
    "true",
    "Off",
    "YES",
    "maybe",
    "0",
    "1",
    "-1",
    "+0_60",
    "007",
    "1__0",
    "0x3c",
    "1.5",
    ".5",
    "1e3",
    "65535",
    "65536",
    "2147483648",
    "100000000000000000000",
    "a,b",
    " a , b,,c,,",
    "a,\n  b",
    "\"a, b\"",
    "'",
    "a'b\"c",
    "k:v",
    "10000:20000",
    "1:2:3",
    "192.0.2.1",
    "192.0.2.256",
    "::1",
    "[::1]",
    "a-1.b2.",
    "a_b",
    "-a",
    "*",
    "http://127.0.0.1:6080/vnc_auto.html",
    "wss://[2001:db8::1]:6083/?token=1#x",
    "http://",
    "//h/x",
    "http://h/[x]",
    "http://300.1.1.1/",
    "http://h:port/",
    "$$x",
    "\\$x",
];

/// What an option of this kind is given beside.
fn texts_of(kind: Kind) -> Vec<String> {
    let around = |min: i64, max: i64| {
        let numbers = [min.checked_sub(1), Some(min), Some(max), max.checked_add(1)];
        numbers.into_iter().flatten().filter(|number| *number != i64::MIN && *number != i64::MAX)
    };
    match kind {
        Kind::Int { min, max } => around(min, max).map(|number| number.to_string()).collect(),
        Kind::Float { min, max } => [min, min - 0.5, max, max + 0.5]
            .into_iter()
            .filter(|number| number.is_finite())
            .map(|number| number.to_string())
            .collect(),
        Kind::Choice(choices) | Kind::ChoiceAnyCase(choices) | Kind::ListOf(choices) => {
            let upper = choices.iter().map(|choice| choice.to_uppercase());
            choices
                .iter()
                .map(|choice| (*choice).to_owned())
                .chain(upper)
                .chain([choices.join(",")])
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A text that an option is to have.
#[derive(Clone)]
struct Setting {
    option: &'static OptionDef,
    text: String,
}

/// `group.name`
fn key(option: &OptionDef) -> String {
    format!("{}.{}", option.group, option.name)
}

/// Every option that both sides have, with every text.
fn settings(known: &Known) -> Vec<Setting> {
    let shared = options().iter().filter(|option| known.contains_key(&name_of(option)));
    shared
        .flat_map(|option| {
            let texts = TEXTS.iter().map(|text| (*text).to_owned()).chain(texts_of(option.kind));
            texts.map(move |text| Setting { option, text })
        })
        .collect()
}

fn is_flag(option: &OptionDef, program: Program) -> bool {
    option.flag.is_some() && option.is_for(program)
}

/// The lines of a file that set these, in groups, spelled as operators spell them.
fn file(random: &mut Random, known: &Known, settings: &[Setting]) -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Setting { option, text } in settings {
        let novas = &known[&name_of(option)];
        let is_novas =
            |(group, name): &&(&str, &str)| novas.contains(&((*group).to_owned(), (*name).to_owned()));
        let old: Vec<_> = option.deprecated.iter().filter(is_novas).collect();
        let (group, name) = match old.as_slice() {
            [_, ..] if random.in_one_of(3) => **random.pick(&old),
            _ => (option.group, option.name),
        };
        let separator = random.pick(&["=", " = ", ": ", "\t=  ", "= "]);
        let mut line = format!("{name}{separator}{text}\n");
        match random.below(12) {
            0 => line.insert_str(0, "# a comment: x = y\n"),
            1 => line.insert(0, '\n'),
            2 => line.push_str("; another\n"),
            3 => line = line.replace('\n', "\r\n"),
            _ => {}
        }
        groups.entry(group).or_default().push(line);
    }
    let mut text = String::new();
    for (group, lines) in groups {
        let upper = group != DEFAULT && random.in_one_of(4);
        let shown = if upper { group.to_uppercase() } else { group.to_owned() };
        // The same section may stand in a file more than once.
        let half = random.below(lines.len());
        text.push_str(&format!("[{shown}]\n{}", lines[..half].concat()));
        text.push_str(&format!("[{group}]\n{}", lines[half..].concat()));
    }
    text
}

/// A case that has `text` as its file, in one of the places that are read.
fn placed(random: &mut Random, name: String, program: Program, text: &str) -> Case {
    let other = "[DEFAULT]\nrpc_response_timeout = 7\n[console]\nallowed_origins = other\n";
    let own_name = format!("{}.conf", program.name());
    let own_directory = format!("{}.conf.d/a.conf", program.name());
    let case = match random.below(8) {
        0 => Case::new(&name, &[]).file("nova.conf", text),
        1 => Case::new(&name, &[]).file("nova.conf", other).file(&own_name, text),
        2 => Case::new(&name, &[]).file("nova.conf.d/b.conf", text).file("nova.conf.d/a.conf", other),
        3 => Case::new(&name, &[]).file(&own_directory, text),
        4 => {
            Case::new(&name, &["--config-file", "@/f", "--config-file=@/g"]).file("f", other).file("g", text)
        }
        5 => Case::new(&name, &["--config-file", "@/f", "--config-file", "@/g"])
            .file("f", text)
            .file("g", other),
        6 => Case::new(&name, &["--config-dir", "@/d", "--config-file", "@/f"])
            .file("d/x.conf", text)
            .file("d/.hidden.conf", "nonsense\n")
            .file("d/not.config", "nonsense\n")
            .file("f", other),
        _ => Case::new(&name, &["--config-file", "@/f"]).file("f", text),
    };
    case.program(program)
}

/// A case and the options that it sets.
struct Dealt {
    case: Case,
    options: Vec<&'static OptionDef>,
}

/// Files whose options are none of the program's flags, so that each is judged alone.
fn files_of_options(random: &mut Random, known: &Known) -> Vec<Dealt> {
    let mut deck = settings(known);
    random.shuffle(&mut deck);
    let mut all: Vec<Dealt> = Vec::new();
    let mut later = Vec::new();
    while !deck.is_empty() {
        let program = Program::ALL[all.len() % 3];
        let mut hand: Vec<Setting> = Vec::new();
        while hand.len() < OPTIONS_PER_FILE
            && let Some(next) = deck.pop()
        {
            let is_taken = hand.iter().any(|one| one.option.name == next.option.name);
            if is_taken || is_flag(next.option, program) {
                later.push(next);
            } else {
                hand.push(next);
            }
        }
        let mut text = file(random, known, &hand);
        let rule = random.pick(RULES);
        if !rule.at_the_start {
            text.extend(rule.whole.iter().map(|one| one.text));
        }
        let mut case = placed(random, format!("options-{}", all.len()), program, &text);
        if let (true, [_, ..]) = (random.in_one_of(3), hand.as_slice()) {
            let variable = random.pick(&hand).option.variable();
            let text = random.pick(&["", "1", "true", "$my_ip", "other, words", "-3"]);
            case = case.variable(&variable, text);
        }
        all.push(Dealt { case, options: hand.iter().map(|one| one.option).collect() });
        // Flags of all programs have cases of their own.
        let is_flag_of_all = |one: &Setting| Program::ALL.iter().all(|program| is_flag(one.option, *program));
        deck.extend(later.drain(..).filter(|one| !is_flag_of_all(one)));
    }
    all
}

/// Flags, one or several at once, as arguments, in files and in variables: what is wrong with one ends it all.
fn cases_of_flags(random: &mut Random, known: &Known) -> Vec<Dealt> {
    let mut all = Vec::new();
    for program in Program::ALL {
        let mut deck: Vec<Setting> =
            settings(known).into_iter().filter(|one| is_flag(one.option, program)).collect();
        // One hand that ends nothing.
        let is_flag = |option: &&OptionDef| is_flag(option, program);
        let fitting = options().iter().filter(is_flag).map(|option| {
            let text = match option.kind {
                Kind::Bool => "yes",
                Kind::Port => "65535",
                Kind::Choice(choices) | Kind::ListOf(choices) => choices[0],
                _ => "::1",
            };
            Setting { option, text: text.to_owned() }
        });
        let fitting: Vec<Setting> = fitting.collect();
        let text = file(random, known, &fitting);
        let case = placed(random, format!("flags-{}", program.name()), program, &text);
        all.push(Dealt { case, options: fitting.iter().map(|one| one.option).collect() });
        random.shuffle(&mut deck);
        while !deck.is_empty() {
            let count = *random.pick(&[1, 1, 2, 8, 16]);
            let hand = deck.split_off(deck.len().saturating_sub(count));
            let options = hand.iter().map(|one| one.option).collect();
            let (mut in_file, mut argv, mut variables) = (Vec::new(), Vec::new(), Vec::new());
            for one in hand {
                match random.below(4) {
                    0 if one.option.kind != Kind::Bool => argv.push(one),
                    1 => variables.push(one),
                    _ => in_file.push(one),
                }
            }
            let name = format!("flags-{}-{}", program.name(), all.len());
            let text = file(random, known, &in_file);
            let mut case = placed(random, name, program, &text);
            for one in argv {
                case.argv.push(format!("{}={}", long_name(one.option), one.text));
            }
            for one in variables {
                case = case.variable(&one.option.variable(), &one.text);
            }
            all.push(Dealt { case, options });
        }
    }
    // What chance may leave out.
    let case = Case::new("flags-file-and-variable", &["--config-file", "@/f", "--web=/flag"])
        .file("f", "[DEFAULT]\nweb = /file\n")
        .variable("OS_DEFAULT__WEB", "/variable");
    all.push(Dealt { case, options: Vec::new() });
    let case = Case::new("flags-many-values", &[])
        .variable("OS_OSLO_MESSAGING_NOTIFICATIONS__DRIVER", "messagingv2");
    all.push(Dealt { case, options: Vec::new() });
    all
}

fn long_name(option: &OptionDef) -> String {
    let name = option.flag.unwrap().name;
    if option.group == DEFAULT { format!("--{name}") } else { format!("--{}-{name}", option.group) }
}

/// Each example alone at the end of a file with a few options.
fn cases_of_rules(random: &mut Random, known: &Known) -> Vec<(Case, &'static Example, bool)> {
    let is_some = |one: &Setting| one.option.group == "spice" && one.option.flag.is_none();
    let some: Vec<Setting> = settings(known).into_iter().filter(is_some).collect();
    let mut all = Vec::new();
    for rule in RULES {
        for (examples, is_whole) in [(rule.whole, true), (rule.broken, false)] {
            for example in examples {
                let hand: Vec<Setting> = (0..3).map(|_| random.pick(&some).clone()).collect();
                let before = if rule.at_the_start { String::new() } else { file(random, known, &hand) };
                let name = format!("{}-{}", rule.name, all.len());
                let case = Case::new(&name, &["--config-file", "@/f"]).file("f", &(before + example.text));
                all.push((case, example, is_whole));
            }
        }
    }
    all
}

/// What the cases have shown, by Nova's side alone.
#[derive(Default)]
struct Coverage {
    taken: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Coverage {
    fn add(&mut self, options: &[&'static OptionDef], theirs: &Outcome) {
        for option in options {
            match theirs {
                Outcome::Ended { reason, .. } => {
                    if reason.starts_with(&format!("argument --{}: Invalid ", option.name)) {
                        self.refused.insert(key(option));
                    }
                }
                Outcome::Read { options, .. } => match &options[&key(option)].result {
                    Ok(_) => drop(self.taken.insert(key(option))),
                    Err(error)
                        if error.starts_with(&format!("Value for option {} ", option.shown_name())) =>
                    {
                        self.refused.insert(key(option));
                    }
                    // A reference to nothing or to what is wrong, which any text may hold.
                    Err(_) => {}
                },
            }
        }
    }

    /// Every option was set to something that it takes, and to something that it does not where there is such.
    fn check(&self, known: &Known) {
        let shared = options().iter().filter(|option| known.contains_key(&name_of(option)));
        let takes_all = |kind| matches!(kind, Kind::Str | Kind::List | Kind::Multi);
        let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for option in shared {
            taken.insert(key(option));
            if !takes_all(option.kind) {
                refused.insert(key(option));
            }
        }
        assert_eq!(taken.difference(&self.taken).next(), None, "never set to a text that fits");
        assert_eq!(refused.difference(&self.refused).next(), None, "never set to a text that does not fit");
        assert_eq!(self.refused.difference(&refused).next(), None, "we take any text, oslo.config does not");
    }
}

/// Sorts what differs into what has a reason and what is wrong.
struct Verdicts {
    used: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl Verdicts {
    fn add(&mut self, case: &Case, ours: &Outcome, theirs: &Outcome) {
        for found in differences(ours, theirs) {
            match REASONS.iter().find(|(_, is_it)| is_it(case, &found)) {
                Some((reason, _)) => drop(self.used.insert(*reason)),
                None => self.wrong.push(format!("{found:#?}\nof {case:#?}")),
            }
        }
    }
}

#[test]
fn generated_configurations_come_out_as_with_novas_own_options() {
    let seed = std::env::var("CONSOLEGATE_CONFIG_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("CONSOLEGATE_CONFIG_SEED={seed}");
    let mut random = Random(seed);
    let known = known();
    let mut dealt = files_of_options(&mut random, &known);
    dealt.extend(cases_of_flags(&mut random, &known));
    let rules = cases_of_rules(&mut random, &known);
    let files: usize = dealt.iter().map(|one| one.case.files.len()).sum();
    assert!(files + rules.len() >= 200, "{files} files");

    let mut verdicts = Verdicts { used: BTreeSet::new(), wrong: Vec::new() };
    let mut coverage = Coverage::default();
    let cases: Vec<&Case> = dealt.iter().map(|one| &one.case).collect();
    for (one, (ours, theirs)) in dealt.iter().zip(outcomes(&cases, "generated")) {
        verdicts.add(&one.case, &ours, &theirs);
        coverage.add(&one.options, &theirs);
    }
    let cases: Vec<&Case> = rules.iter().map(|(case, ..)| case).collect();
    for ((case, example, is_whole), (ours, theirs)) in rules.iter().zip(outcomes(&cases, "rules")) {
        verdicts.add(case, &ours, &theirs);
        assert_eq!(example.is_kept(&theirs), *is_whole, "{case:#?} {theirs:#?}");
    }
    let Verdicts { used, wrong } = verdicts;
    assert!(wrong.is_empty(), "{} differences, of seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
    coverage.check(&known);
    for (reason, _) in REASONS {
        assert!(used.contains(reason), "no case shows it: {reason}");
    }
}

#[test]
fn a_wrong_value_error_or_warning_is_a_difference() {
    let text = "[DEFAULT]\nnovncproxy_port = 7\n[mks]\nenabled = x\n[consoleauth]\ntoken_ttl = 5\n";
    let case = Case::new("right", &["--config-file", "@/f"]).file("f", text);
    let change = |change: fn(&mut Vec<String>, &mut BTreeMap<String, Got>)| {
        let (mut ours, theirs) = outcomes(&[&case], "wrong").remove(0);
        if let Outcome::Read { deprecations, options } = &mut ours {
            change(deprecations, options);
        }
        let is_unexpected = |found: &Difference| !REASONS.iter().any(|(_, is_it)| is_it(&case, found));
        let found = differences(&ours, &theirs).into_iter().filter(is_unexpected);
        found.map(|one| one.option).collect::<Vec<String>>()
    };
    assert_eq!(change(|_, _| {}), Vec::<String>::new());
    assert_eq!(change(|lines, _| lines.clear()), [""]);
    let values = change(|_, options| options.get_mut("vnc.novncproxy_port").unwrap().result = Ok(8.into()));
    assert_eq!(values, ["vnc.novncproxy_port"]);
    let kinds =
        change(|_, options| options.get_mut("consoleauth.token_ttl").unwrap().result = Ok("5".into()));
    assert_eq!(kinds, ["consoleauth.token_ttl"]);
    let errors = change(|_, options| options.get_mut("mks.enabled").unwrap().result = Err("wrong".into()));
    assert_eq!(errors, ["mks.enabled"]);
    let old = change(|_, options| options.get_mut("vnc.novncproxy_port").unwrap().old_name = Some(false));
    assert_eq!(old, ["vnc.novncproxy_port"]);
}
