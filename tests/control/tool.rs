//! `consolegate token` as its user sees it.

use consolegate::console::ConsoleToken;
use consolegate::session::Input;

use crate::common::{INSTANCE, Scratch, TOKEN, authorize, create, settings_for, start, tool, url};

#[test]
fn create_prints_the_access_url_and_a_random_token_works() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    let url = url(&database);
    assert_eq!(
        create(&database, &["--init"]),
        format!("http://127.0.0.1:6080/vnc_auto.html?path=%3Ftoken%3D{TOKEN}\n")
    );
    let args = [
        "create",
        "--database",
        &url,
        "--type",
        "serial",
        "--host",
        "h",
        "--port",
        "1",
        "--instance",
        INSTANCE,
    ];
    let (status, out, _) = tool(&args);
    assert_eq!(status, 0);
    let token = out.trim_end().strip_prefix("ws://127.0.0.1:6083/?token=").unwrap();
    assert!(matches!(authorize(&start(settings_for(&database)), token), Input::Authorized(_)));
}

#[test]
fn list_shows_neither_token_nor_hash() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init", "--ttl", "0"]);
    let (status, out, err) = tool(&["list", "--database", &url(&database)]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(
        out.contains(INSTANCE) && out.contains("novnc\t192.0.2.7:5901") && out.contains("(expired)"),
        "{out}"
    );
    let hash = ConsoleToken::new(TOKEN).hash().to_hex();
    assert!(!out.contains(TOKEN) && !out.contains(&hash), "{out}");
}

#[test]
fn revoked_tokens_are_refused() {
    for (which, options) in [
        (vec!["--token", TOKEN], vec!["--init"]),
        (vec!["--instance", INSTANCE], vec!["--init"]),
        (vec!["--expired"], vec!["--init", "--ttl", "0"]),
    ] {
        let scratch = Scratch::new();
        let database = scratch.path("cell.db");
        create(&database, &options);
        let url = url(&database);
        let args: Vec<&str> =
            ["revoke", "--database", &url].into_iter().chain(which.iter().copied()).collect();
        assert_eq!(tool(&args), (0, "1 revoked\n".to_owned(), String::new()), "{which:?}");
        let (status, out, _) = tool(&["list", "--database", &url]);
        assert_eq!((status, out.as_str()), (0, ""));
        // Nothing left: an error for a named token, none for a sweep.
        let status = tool(&args).0;
        assert_eq!(status, u8::from(which != ["--expired"]), "{which:?}");
    }
}

#[test]
fn a_token_for_a_missing_instance_is_made_with_a_warning() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    create(&database, &["--init"]);
    let url = url(&database);
    let other = INSTANCE.replace('1', "2");
    let args =
        ["create", "--database", &url, "--type", "novnc", "--host", "h", "--port", "1", "--instance", &other];
    let (status, _, err) = tool(&args);
    assert_eq!(status, 0);
    assert!(err.contains("warning: the token will be refused until the instance exists"), "{err}");
}

#[test]
fn failures_say_what_and_exit_with_1_wrong_usage_with_2() {
    let scratch = Scratch::new();
    let database = scratch.path("cell.db");
    let url = url(&database);
    let list = ["list", "--database", url.as_str()];
    let (status, out, err) = tool(&list);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.starts_with("consolegate token: could not open ") && err.contains("cell.db"), "{err}");
    assert!(!database.exists(), "only --init makes a file");

    std::fs::write(&database, "").unwrap();
    let (status, _, err) = tool(&list);
    assert_eq!(status, 1);
    assert!(err.contains("create --init makes the tables"), "{err}");

    create(&database, &["--init"]);
    let twice = ["create", "--database", &url, "--type", "novnc", "--host", "h", "--port", "1"];
    let (status, _, err) = tool(&[&twice[..], &["--instance", INSTANCE, "--token", TOKEN]].concat());
    assert_eq!((status, err.as_str()), (1, "consolegate token: this token exists already\n"));

    let (status, _, err) = tool(&["list", "--database", "mysql://nova:pa55@127.0.0.1:1/nova"]);
    assert_eq!(status, 1);
    assert!(err.contains("could not connect to the database") && !err.contains("pa55"), "{err}");

    let (status, out, err) = tool(&["mint"]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("unknown command"), "{err}");
    let (status, out, _) = tool(&["--help"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("usage: consolegate token create"));
}
