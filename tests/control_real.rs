//! Console tokens against a real Nova: its migrations, its models, its `ConsoleAuthToken`.
//!
//! Needs a Python with the package `nova` (`CONSOLEGATE_TEST_PYTHON`, else `target/test-python/bin/python`)
//! and fails without one: `scripts/test` installs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

#[path = "control/common.rs"]
#[allow(dead_code, reason = "shared with tests/control, which uses the rest")]
mod common;
#[path = "common/service.rs"]
#[allow(dead_code, reason = "shared with tests that use the rest")]
mod service;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use consolegate::console::ConsoleType;
use consolegate::control::ControlSettings;
use consolegate::session::{AuthorizeError, Failure, Input};
use serde_json::{Value, json};

use common::{
    INSTANCE, Scratch, TOKEN, authorize, create, database_at, settings, settings_for, start, tool, url,
};
use service::Service;

/// Nova in a Python process of its own, on one database.
struct Nova {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Nova {
    fn on(database: &Path) -> Self {
        Self::at(&url(database), database.parent().unwrap())
    }

    /// The same at a URL, which oslo.config is to take as it stands; `directory` holds no configuration.
    fn at(url: &str, directory: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("CONSOLEGATE_TEST_PYTHON")
            .map_or_else(|| root.join("target/test-python/bin/python"), PathBuf::from);
        let mut process = Command::new(&python)
            .arg(root.join("tests/control/nova_peer.py"))
            .arg(url)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|reason| {
                panic!("{}: {reason}; make it with python3 -m venv, and pip install nova", python.display())
            });
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, commands, answers }
    }

    fn ask(&mut self, command: &Value) -> Value {
        let sent = writeln!(self.commands.as_mut().unwrap(), "{command}");
        let mut line = String::new();
        let received = sent.and_then(|()| self.answers.read_line(&mut line));
        assert!(
            matches!(received, Ok(1..)),
            "no answer to {command}: see above for what Python said; does it have the package nova?"
        );
        serde_json::from_str(&line).unwrap()
    }

    fn text(&mut self, command: &Value) -> String {
        self.ask(command).as_str().unwrap().to_owned()
    }
}

impl Drop for Nova {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}

fn is_invalid(answer: &Input) -> bool {
    matches!(answer, Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)))
}

#[test]
fn tokens_minted_by_nova_open_what_nova_meant() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    minted_tokens_open(&url(&database), &scratch);
}

/// Nova's migrations, instances and tokens on a server of this kind.
fn minted_tokens_open_on(kind: &'static str, scheme: &str) {
    let server = Service::start(kind);
    let text = |fact: &str| server.text(fact);
    let password: String = text("/password").bytes().map(|byte| format!("%{byte:02x}")).collect();
    let place = format!("{}:{}/{}", text("/host"), text("/port"), text("/database"));
    minted_tokens_open(&format!("{scheme}://{}:{password}@{place}", text("/user")), &Scratch::new());
}

#[test]
fn tokens_minted_by_nova_in_postgresql_open_what_nova_meant() {
    minted_tokens_open_on("postgres", "postgresql+psycopg2");
}

#[test]
fn tokens_minted_by_nova_in_mariadb_open_what_nova_meant() {
    minted_tokens_open_on("mariadb", "mysql+pymysql");
}

fn minted_tokens_open(url: &str, scratch: &Scratch) {
    let mut nova = Nova::at(url, scratch.path("").as_path());
    nova.ask(&json!(["create"]));
    let instance = nova.text(&json!(["instance", "compute1"]));
    let control = start(ControlSettings { database: database_at(url), ..settings() });
    for (console_type, base, path) in [
        (ConsoleType::NoVnc, "http://127.0.0.1:6080/vnc_auto.html", None),
        (ConsoleType::SpiceHtml5, "http://127.0.0.1:6082/spice_auto.html", None),
        (ConsoleType::Serial, "ws://127.0.0.1:6083/", Some("serial0")),
    ] {
        let fields = json!({
            "console_type": console_type.as_str(), "host": "192.0.2.7", "port": 5901,
            "instance_uuid": instance, "access_url_base": base, "internal_access_path": path,
        });
        let minted = nova.ask(&json!(["authorize", fields, 600]));
        let Input::Authorized(info) = authorize(&control, minted["token"].as_str().unwrap()) else {
            panic!("{console_type}: refused")
        };
        assert_eq!(info.console_type, console_type);
        assert_eq!((info.host.as_str(), info.port), ("192.0.2.7", Some(5901)));
        assert_eq!(info.internal_access_path.as_deref(), path);
        assert_eq!(info.access_url_base.as_deref(), Some(base));
        assert_eq!(
            (info.instance_uuid.as_str(), Some(info.expires)),
            (instance.as_str(), minted["expires"].as_i64())
        );
    }
    assert!(is_invalid(&authorize(&control, "no-such-token")));
    let fields = json!({
        "console_type": "novnc", "host": "192.0.2.7", "port": 5901, "instance_uuid": instance,
        "access_url_base": "http://127.0.0.1:6080/vnc_auto.html", "internal_access_path": null,
    });
    let minted = nova.ask(&json!(["authorize", fields, 600]));
    nova.ask(&json!(["destroy", instance]));
    assert!(is_invalid(&authorize(&control, minted["token"].as_str().unwrap())), "the instance is deleted");
}

#[test]
fn tokens_that_nova_refuses_are_refused() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    let mut nova = Nova::on(&database);
    nova.ask(&json!(["create"]));
    let (here, nowhere) =
        (nova.text(&json!(["instance", "compute1"])), nova.text(&json!(["instance", null])));
    let control = start(settings_for(&database));
    let mint = |nova: &mut Nova, instance: &str, ttl: i64| {
        let fields = json!({
            "console_type": "novnc", "host": "192.0.2.7", "port": 5901, "instance_uuid": instance,
            "access_url_base": "http://127.0.0.1:6080/vnc_auto.html", "internal_access_path": null,
        });
        let minted = nova.ask(&json!(["authorize", fields, ttl]));
        minted["token"].as_str().unwrap().to_owned()
    };

    let expired = mint(&mut nova, &here, 0);
    assert!(nova.ask(&json!(["validate", expired]))["invalid"].is_string());
    assert!(is_invalid(&authorize(&control, &expired)));

    let unplaced = mint(&mut nova, &nowhere, 600);
    let answer = authorize(&control, &unplaced);
    assert!(
        matches!(answer, Input::Failed(Failure::Authorize(AuthorizeError::InstanceWithoutHost { .. }))),
        "{answer:?}"
    );

    let token = mint(&mut nova, &here, 600);
    assert!(matches!(authorize(&control, &token), Input::Authorized(_)));
    nova.ask(&json!(["destroy", here]));
    assert!(is_invalid(&authorize(&control, &token)), "the instance is deleted");
}

#[test]
fn tokens_minted_by_the_tool_are_novas_own() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    let mut nova = Nova::on(&database);
    nova.ask(&json!(["create"]));
    let url = url(&database);
    create(&database, &["--init", "--instance-host", "compute1"]);
    assert_eq!(nova.ask(&json!(["load", INSTANCE])), "compute1", "Nova takes the instance for its own");
    for (number, (console_type, base)) in [
        ("novnc", None),
        ("novnc", Some("https://c.example/vnc_lite.html")),
        (
            "novnc",
            Some("HTTPS://c.example:13080/novnc/vnc_lite.html?path=novnc&title=a+b%2Fc&x=&y=1&y=2#top"),
        ),
        ("novnc", Some("http://c.example?path=%3Fa%3Db&path=second")),
        ("novnc", Some("http://[2001:db8::1]:6080/vnc.html?%C3%BC=~%zz")),
        ("spice-html5", None),
        ("serial", None),
        ("xvpvnc", None),
        ("webmks", Some("https://c.example/mks?a=b")),
        ("spice-direct", None),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("{:08x}{}", number, &TOKEN[8..]);
        let mut args = vec!["create", "--database", &url, "--instance", INSTANCE, "--token", &token];
        args.extend(["--type", console_type, "--host", "2001:db8::7", "--port", "65535"]);
        args.extend(base.into_iter().flat_map(|base| ["--base-url", base]));
        let (status, printed, err) = tool(&args);
        assert_eq!((status, err.as_str()), (0, ""));
        let validated = nova.ask(&json!(["validate", token]));
        assert_eq!(validated["access_url"], printed.trim_end(), "{console_type} {base:?}");
        assert_eq!(validated["console_type"], console_type);
        assert_eq!((&validated["host"], &validated["port"]), (&json!("2001:db8::7"), &json!(65535)));
        assert_eq!(validated["instance_uuid"], INSTANCE);
    }
}

#[test]
fn columns_made_by_init_are_those_of_novas_migrations() {
    let columns = |database: &Path, migrate: bool| {
        let mut nova = Nova::on(database);
        if migrate {
            nova.ask(&json!(["create"]));
        }
        let schema = nova.ask(&json!(["schema"]));
        serde_json::from_value::<BTreeMap<String, BTreeMap<String, (String, bool)>>>(schema).unwrap()
    };
    let scratch = Scratch::new();
    let (ours, novas) = (scratch.path("ours.db"), scratch.path("novas.db"));
    create(&ours, &["--init"]);
    let (ours, novas) = (columns(&ours, false), columns(&novas, true));
    assert!(novas["instances"].len() > 40, "{novas:?}");
    assert_eq!(ours, novas);
}
