//! The lines that a session leaves, in Nova's words.

use std::fs;
use std::io::Write;

use super::client::Client;
use super::compute;
use super::program::{INSTANCE, Options, Program, quiet, secrets};

on_both_engines! {
    a_session_leaves_novas_lines_in_novas_order,
    a_malformed_cookie_is_a_warning_without_the_cookie,
    the_handshake_is_told_at_debug_in_novas_words,
    no_sink_shows_a_token_at_any_level,
}

/// Whether `text` matches `pattern`, where `#` stands for one digit or more and `~` for a UUID.
fn matches(text: &str, pattern: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '#' => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && matches(&text[digits..], rest)
        }
        '~' => text.len() >= 36 && text[..36].split('-').count() == 5 && matches(&text[36..], rest),
        _ => text.strip_prefix(first).is_some_and(|text| matches(text, rest)),
    }
}

fn a_session_leaves_novas_lines_in_novas_order(engine: &str) {
    let program = Program::start_with(&Options::on(engine), quiet);
    let (port, compute) = compute::serve(|mut stream| {
        compute::rfb_handshake(&mut stream);
        stream.write_all(b"bye").unwrap();
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/websockify?token={token}"), &[]);
    client.rfb_handshake();
    assert_eq!(client.read_frame(), (0x82, b"bye".to_vec()));
    client.rest();
    compute.join().unwrap();
    program.wait_for_log("console relay ended");
    let mut refused = Client::upgrade(program.address, "/?token=unknown", &[]);
    refused.rest();
    program.wait_for_log("handler exception");
    let dead = program.token("novnc", compute::dead_port(), 601);
    Client::upgrade(program.address, &format!("/?token={dead}"), &[]).rest();
    program.wait_for_log("Errno");

    let log = program.log();
    let from = log.find("WebSocket connection").map(|at| log[..at].rfind('\n').unwrap() + 1).unwrap();
    let lines: Vec<&str> = log[from..].lines().map(|line| line.splitn(4, ' ').nth(3).unwrap()).collect();
    let proxy = "INFO nova.console.websocketproxy";
    let (before, after) = ("[-] 127.0.0.1 - - [#/Nov/# #:#:#] 127.0.0.1:", "[None req-~ - - - - - -]");
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let connect_info = format!(
        "{proxy} {after}   #: connect info: ConsoleAuthToken(access_url_base='http://#.#.#.#:#/vnc_lite.html',\
         console_type='novnc',host='#.#.#.#',instance_uuid=~,internal_access_path=None,port=#,token='***')"
    );
    let expected = [
        format!("{proxy} {before} Plain non-SSL (ws://) WebSocket connection"),
        format!("{proxy} {before} Path: '/websockify?token=***'"),
        connect_info.clone(),
        format!("{proxy} {after}   #: connecting to: 127.0.0.1:#"),
        format!(
            "INFO nova.console.securityproxy.rfb {after} Finished security handshake, resuming normal proxy mode \
             using secured socket"
        ),
        format!("{proxy} {after} [instance: {INSTANCE}]   #: console relay started for 127.0.0.1"),
        format!(
            "{proxy} {after}   #: console relay ended after #.# s: Target closed; # bytes from the tenant, # from \
             the compute node (# spliced, # switches)"
        ),
        format!("{proxy} {before} Plain non-SSL (ws://) WebSocket connection"),
        format!("{proxy} {before} Path: '/?token=***'"),
        format!("{proxy} {after} handler exception: The token '***' is invalid or has expired"),
        format!("{proxy} {before} Plain non-SSL (ws://) WebSocket connection"),
        format!("{proxy} {before} Path: '/?token=***'"),
        connect_info,
        format!("{proxy} {after}   #: connecting to: 127.0.0.1:#"),
        format!("{proxy} {after} handler exception: [Errno 111] Connection refused"),
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, pattern) in lines.iter().zip(&expected) {
        let found = months.iter().any(|month| matches(line, &pattern.replace("Nov/", &format!("{month}/"))));
        assert!(found, "{line}\nis not\n{pattern}");
    }
    // One session, one request id; the next session has another.
    let ids: Vec<&str> = lines.iter().filter_map(|line| Some(&line[line.find("req-")?..][..40])).collect();
    assert!(ids[..5].iter().all(|id| *id == ids[0]) && ids[5] != ids[0], "{ids:?}");
}

fn a_malformed_cookie_is_a_warning_without_the_cookie(engine: &str) {
    let program = Program::start(&Options::on(engine));
    let (port, compute) = compute::serve(|mut stream| compute::rfb_handshake(&mut stream));
    let token = program.token("novnc", port, 600);
    let cookie = format!("Cookie: x/y=hidden-part; token={token}");
    secrets::issue("hidden-part");
    let mut client = Client::upgrade(program.address, "/websockify", &[&cookie]);
    client.rfb_handshake();
    compute.join().unwrap();
    program.wait_for_log("WARNING nova.console.websocketproxy [-] Found malformed cookie");
    assert!(!program.log().contains("hidden-part") && !program.log().contains(&token));
}

fn the_handshake_is_told_at_debug_in_novas_words(engine: &str) {
    let default = "debug = true\nweb =\nlogging_debug_format_suffix =";
    let program = Program::start(&Options { default, ..Options::on(engine) });
    let (port, compute) = compute::serve(|mut stream| {
        stream.write_all(b"RFB 003.008\n").unwrap();
        compute::read(&mut stream, 12);
        stream.write_all(&[3, 19, 200, 1]).unwrap();
        compute::read(&mut stream, 1);
        stream.write_all(&[0; 4]).unwrap();
    });
    let token = program.token("novnc", port, 600);
    let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
    client.rfb_handshake();
    compute.join().unwrap();
    program.wait_for_log(&format!(": 127.0.0.1:{port}: Websocket client or target closed"));
    let log = program.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("DEBUG nova.console.securityproxy.rfb [None req-"))
        .map(|line| line.split_once(" - - - - - -] ").unwrap().1)
        .collect();
    assert_eq!(
        lines,
        [
            "Got version string 'RFB 003.008' from compute node",
            "Server sent security types: 19 (VENCRYPT), 200 (unknown), 1 (NONE)",
            "Got version string 'RFB 003.008' from tenant",
            "Using security type 1 (NONE) with server, 1 (NONE) with client",
        ],
        "{log}"
    );
}

fn no_sink_shows_a_token_at_any_level(engine: &str) {
    let default = "debug = true\nlog_config_append = logging.ini\nweb = web";
    let program = Program::start_with(&Options { default, ..Options::on(engine) }, |command| {
        let directory = command.get_current_dir().unwrap();
        fs::create_dir(directory.join("web")).unwrap();
        let text = "[loggers]\nkeys=root\n[handlers]\nkeys=text,json,out\n[formatters]\nkeys=context,json\n\
                    [logger_root]\nlevel=NOTSET\nhandlers=text,json,out\n\
                    [handler_text]\nclass=FileHandler\nargs=('text.log',)\nformatter=context\n\
                    [handler_json]\nclass=FileHandler\nargs=('json.log',)\nformatter=json\n\
                    [handler_out]\nclass=StreamHandler\nargs=(sys.stdout,)\nformatter=context\n\
                    [formatter_context]\nclass=oslo_log.formatters.ContextFormatter\n\
                    [formatter_json]\nclass=oslo_log.formatters.JSONFormatter\n";
        fs::write(directory.join("logging.ini"), text).unwrap();
    });
    let mut secrets = vec!["cookie-of-the-dashboard".to_owned()];
    secrets::issue(&secrets[0]);
    for carrier in 0..4 {
        let (port, compute) = compute::serve(|mut stream| compute::rfb_handshake(&mut stream));
        let token = program.token("novnc", port, 600 + carrier);
        let cookie = format!("Cookie: s=cookie-of-the-dashboard; token={token}");
        let mut client = match carrier {
            0 => Client::upgrade(program.address, &format!("/websockify?token={token}"), &[]),
            1 => Client::upgrade(program.address, "/websockify", &[&cookie]),
            2 => Client::upgrade(program.address, &format!("/?path=%3Ftoken%3D{token}"), &[]),
            _ => Client::upgrade(program.address, &format!("/?x={token}&token={token}"), &[&cookie]),
        };
        client.rfb_handshake();
        client.rest();
        compute.join().unwrap();
        for target in [format!("/vnc.html?token={token}"), format!("/x%3Ftoken%3D{token}")] {
            let mut page = Client::connect(program.address);
            page.send(
                format!("GET {target} HTTP/1.1\r\nHost: h\r\nReferer: http://h/?token={token}\r\n\r\n")
                    .as_bytes(),
            );
            assert!(page.head().starts_with("HTTP/1.1 404 "));
        }
        let hash = consolegate::console::ConsoleToken::new(token.as_str()).hash().to_hex();
        secrets.extend([token, hash]);
    }
    // One connection waited for the listener; then three per carrier.
    program.wait_for_log(" 13: connection closed");
    for log in ["text.log", "json.log", "log"] {
        let text = fs::read_to_string(program.directory.join(log)).unwrap();
        assert!(text.contains("relaying") && text.contains("404"), "{log} lacks the low levels:\n{text}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{log} shows {secret}");
        }
    }
}
