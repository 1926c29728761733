//! The rules of the grammar and of references, by example: whole and broken.

use super::peer::Outcome;

/// One rule.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// Whether its lines must be the first of a file; others may follow any file
    pub(crate) at_the_start: bool,
    /// Lines that keep it
    pub(crate) whole: &'static [Example],
    /// Lines that break it
    pub(crate) broken: &'static [Example],
}

/// Lines, and the option that shows what they come to; nothing where the whole file is refused.
pub(crate) struct Example {
    pub(crate) text: &'static str,
    pub(crate) shows: &'static str,
}

impl Example {
    /// Whether an outcome shows that the lines keep the rule. What shows neither fails the test.
    pub(crate) fn is_kept(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Ended { status, reason } => {
                assert!(
                    *status == 1 && self.shows.is_empty() && reason.starts_with("Failed to parse "),
                    "{reason}"
                );
                false
            }
            Outcome::Read { options, .. } => {
                let shown = options.get(self.shows);
                shown.unwrap_or_else(|| panic!("{:?} has no {:?}", self.text, self.shows)).result.is_ok()
            }
        }
    }
}

const fn example(text: &'static str, shows: &'static str) -> Example {
    Example { text, shows }
}

const fn refused(text: &'static str) -> Example {
    Example { text, shows: "" }
}

const fn rule(name: &'static str, whole: &'static [Example], broken: &'static [Example]) -> Rule {
    Rule { name, at_the_start: false, whole, broken }
}

const fn rule_of_the_start(
    name: &'static str,
    whole: &'static [Example],
    broken: &'static [Example],
) -> Rule {
    Rule { name, at_the_start: true, whole, broken }
}

pub(crate) static RULES: &[Rule] = &[
    rule(
        "section",
        &[
            example("[mks]\nenabled = yes  \n", "mks.enabled"),
            example("[mks]  \t\nenabled=1\n", "mks.enabled"),
        ],
        &[refused("[mks] # x\n"), refused("[mks\n"), refused("[]\n"), refused("[mks]x\n")],
    ),
    rule(
        "section_with_blanks",
        &[example("[ mks ]\nenabled = no such\n[ DEFAULT ]\nmy_ip=no\n", "mks.enabled")],
        &[],
    ),
    rule(
        "section_case",
        &[
            example("[MkS]\nenabled=on\n", "mks.enabled"),
            example("[default]\nlong_rpc_timeout=no number\n", "DEFAULT.long_rpc_timeout"),
        ],
        &[example("[MKS]\nenabled=x\n", "mks.enabled")],
    ),
    rule(
        "section_twice",
        &[example("[mks]\nenabled=x\n[DEFAULT]\nmy_ip=::1\n[mks]\nenabled=0\n", "mks.enabled")],
        &[example("[mks]\nenabled=0\n[DEFAULT]\nmy_ip=::1\n[mks]\nenabled=x\n", "mks.enabled")],
    ),
    rule(
        "separator",
        &[
            example("[DEFAULT]\ntempdir=a:b\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir:a=b\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir \t : \t = b\t\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir==\n", "DEFAULT.tempdir"),
        ],
        &[refused("[DEFAULT]\ntempdir\n"), refused("[DEFAULT]\ntempdir /a\n")],
    ),
    rule(
        "key",
        &[
            example(
                "[DEFAULT]\nTempdir=/a\nlong-rpc-timeout=no\nlong_rpc_timeout=3\n",
                "DEFAULT.long_rpc_timeout",
            ),
            example("[DEFAULT]\ntemp dir=/a\n", "DEFAULT.tempdir"),
        ],
        &[refused("[DEFAULT]\n= /a\n"), refused("[DEFAULT]\n: /a\n"), refused("[DEFAULT]\n\t\n=\n")],
    ),
    rule_of_the_start(
        "no_section_yet",
        &[example("# a comment\n\n[DEFAULT]\ntempdir=/a\n", "DEFAULT.tempdir")],
        &[refused("tempdir=/a\n[DEFAULT]\n"), refused("  tempdir=/a\n"), refused("tempdir\n")],
    ),
    rule_of_the_start("byte_order_mark", &[], &[refused("\u{feff}[DEFAULT]\ntempdir=/a\n")]),
    rule(
        "continuation",
        &[
            example("[DEFAULT]\ntempdir = a\n  b\n\tc \n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir =\n  b\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir = a\n # b\n  [c]\n d = e\n", "DEFAULT.tempdir"),
            example("[console]\nallowed_origins = a,\n  b\n  ,c\n", "console.allowed_origins"),
            example("[DEFAULT]\ntempdir = \"a\n  b\"\n", "DEFAULT.tempdir"),
        ],
        &[
            refused("[DEFAULT]\n b\n"),
            refused("[DEFAULT]\ntempdir=a\n\n b\n"),
            refused("[DEFAULT]\ntempdir=a\n# c\n b\n"),
            refused("[DEFAULT]\ntempdir=a\n; c\n\tb\n"),
            example("[DEFAULT]\nlong_rpc_timeout = 1\n 2\n", "DEFAULT.long_rpc_timeout"),
        ],
    ),
    rule(
        "comment",
        &[
            example(
                "# [mks\n; nonsense\n#\n[DEFAULT]\ntempdir = /a # b ; c\n#tempdir=/d\n",
                "DEFAULT.tempdir",
            ),
            example("[DEFAULT]\ntempdir=#a\n", "DEFAULT.tempdir"),
        ],
        &[
            example("[DEFAULT]\nlong_rpc_timeout = 3 # seconds\n", "DEFAULT.long_rpc_timeout"),
            refused("[DEFAULT]\n // a comment\n"),
            refused("[DEFAULT]\n// another\n"),
        ],
    ),
    rule(
        "quotes",
        &[
            example("[DEFAULT]\ntempdir=\"/a\"\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=''/a''\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=\"/a'\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir='\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=\"\"\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=a\"b\" \n", "DEFAULT.tempdir"),
            example("[DEFAULT]\nlong_rpc_timeout='3'\n", "DEFAULT.long_rpc_timeout"),
        ],
        &[example("[DEFAULT]\nlong_rpc_timeout='3\n", "DEFAULT.long_rpc_timeout")],
    ),
    rule(
        "repeated",
        &[example("[DEFAULT]\nlong_rpc_timeout=x\nlong_rpc_timeout=4\n", "DEFAULT.long_rpc_timeout")],
        &[example("[DEFAULT]\nlong_rpc_timeout=4\nlong_rpc_timeout=x\n", "DEFAULT.long_rpc_timeout")],
    ),
    rule(
        "repeated_multi",
        &[example(
            "[oslo_messaging_notifications]\ndriver=a\ndriver = b, c\n[mks]\n[oslo_messaging_notifications]\ndriver=\n",
            "oslo_messaging_notifications.driver",
        )],
        &[],
    ),
    rule(
        "empty",
        &[
            example("[DEFAULT]\ntempdir=\n", "DEFAULT.tempdir"),
            example("[console]\nallowed_origins=\n", "console.allowed_origins"),
            example("[DEFAULT]\nlong_rpc_timeout = \n", "DEFAULT.long_rpc_timeout"),
        ],
        &[example("[mks]\nenabled=\n", "mks.enabled")],
    ),
    rule(
        "line_ends",
        &[
            example("[DEFAULT]\r\ntempdir = /a\r\nlong_rpc_timeout=3\r\n", "DEFAULT.long_rpc_timeout"),
            example("[DEFAULT]\nlong_rpc_timeout=3\rtempdir=/b\r", "DEFAULT.long_rpc_timeout"),
            example("[DEFAULT]\nlong_rpc_timeout=3", "DEFAULT.long_rpc_timeout"),
        ],
        &[refused("[DEFAULT]\r\ntempdir\r\n")],
    ),
    rule(
        "utf8",
        &[example("[DEFAULT]\ntempdir = /é/\u{1f600}\n", "DEFAULT.tempdir")],
        &[
            example("[DEFAULT]\nlong_rpc_timeout = é\n", "DEFAULT.long_rpc_timeout"),
            refused("[DEFAULT]\né\n"),
        ],
    ),
    rule(
        "unknown_names",
        &[example(
            "[nothing]\nat=all\n[DEFAULT]\nno_such_option=1\nlong_rpc_timeout=3\n",
            "DEFAULT.long_rpc_timeout",
        )],
        &[],
    ),
    rule(
        "reference",
        &[
            example("[DEFAULT]\nmy_ip=x\ntempdir=$my_ip/${my_ip}y\n", "DEFAULT.tempdir"),
            example(
                "[vnc]\nserver_listen=a.b\n[DEFAULT]\ntempdir=$vnc.server_listen-${vnc.server_listen}.x\n",
                "DEFAULT.tempdir",
            ),
            example("[DEFAULT]\nlong_rpc_timeout=$vnc.novncproxy_port\n", "DEFAULT.long_rpc_timeout"),
        ],
        &[
            example("[DEFAULT]\nlong_rpc_timeout=$vnc.server_listen\n", "DEFAULT.long_rpc_timeout"),
            example("[DEFAULT]\ntempdir=a$no_such/b\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=a${vnc.no_such}/b\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=$no_group.no_such\n", "DEFAULT.tempdir"),
        ],
    ),
    rule(
        "reference_in_own_group_first",
        &[example(
            "[DEFAULT]\nkeymap=wrong\n[vnc]\nserver_listen=$server_proxyclient_address\nserver_proxyclient_address=$my_ip\n",
            "vnc.server_listen",
        )],
        &[],
    ),
    rule("reference_case", &[], &[example("[DEFAULT]\ntempdir=$MY_IP\n", "DEFAULT.tempdir")]),
    rule(
        "dots_belong_to_the_name",
        &[
            example("[DEFAULT]\ntempdir=${my_ip}.x\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=$vnc.server_listen-x\n", "DEFAULT.tempdir"),
        ],
        &[example("[DEFAULT]\ntempdir=$my_ip.x\n", "DEFAULT.tempdir")],
    ),
    rule(
        "dollar_signs",
        &[
            example("[DEFAULT]\ntempdir=a$$b\\$c$1 ${ $} $\n", "DEFAULT.tempdir"),
            example("[database]\nconnection=mysql://u:p$$w@h/nova\n", "database.connection"),
        ],
        &[],
    ),
    rule(
        "reference_to_unset",
        &[example("[DEFAULT]\ntempdir=[$transport_url][$api_database.connection]\n", "DEFAULT.tempdir")],
        &[],
    ),
    rule(
        "reference_to_no_text",
        &[example(
            "[DEFAULT]\ntempdir=$debug $vnc.auth_schemes $rpc_response_timeout $oslo_messaging_notifications.driver\n",
            "DEFAULT.tempdir",
        )],
        &[],
    ),
    rule("reference_to_a_group", &[], &[example("[DEFAULT]\ntempdir=$vnc\n", "DEFAULT.tempdir")]),
    rule("reference_to_default", &[], &[example("[DEFAULT]\ntempdir=$DEFAULT.my_ip\n", "DEFAULT.tempdir")]),
    rule(
        "reference_to_itself",
        &[],
        &[
            example("[DEFAULT]\ntempdir=$tempdir\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=$console_host\nconsole_host=$tempdir\n", "DEFAULT.tempdir"),
        ],
    ),
    rule(
        "reference_to_an_old_name",
        &[
            example("[DEFAULT]\nvnc_enabled=no\ntempdir=$vnc.enabled\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\nlogdir=/l\ntempdir=$logdir\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\nlog_dir=/l\ntempdir=$logdir\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=[$logdir]\n", "DEFAULT.tempdir"),
            example("[DEFAULT]\ntempdir=$vnc_enabled\n[vnc]\nenabled=0\n", "DEFAULT.tempdir"),
            example(
                "[DEFAULT]\ntempdir=$console_allowed_origins\n[console]\nallowed_origins=a, b\n",
                "DEFAULT.tempdir",
            ),
            example(
                "[vnc]\nserver_listen=$novncproxy_host\n[DEFAULT]\nnovncproxy_host=h\n",
                "vnc.server_listen",
            ),
            example("[DEFAULT]\ntempdir=$console_token_ttl\n", "DEFAULT.tempdir"),
        ],
        &[],
    ),
];
