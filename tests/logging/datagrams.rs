//! What syslog and the journal receive.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use consolegate::telemetry::{LogSettings, Sockets};

use serde_json::json;

use crate::peer::{INSTANCE, Peer, Scratch, neutral, write};

fn settings(scratch: &Scratch) -> LogSettings {
    LogSettings {
        program: "nova-novncproxy".to_owned(),
        file: Some(scratch.path("file.log")),
        sockets: Sockets { syslog: scratch.path("syslog"), journal: scratch.path("journal") },
        levels: vec![("sqlalchemy".to_owned(), 30)],
        ..LogSettings::default()
    }
}

fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Everything that waits on `socket`.
fn received(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 65_536];
    let mut datagrams = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        datagrams.push(buffer[..len].to_vec());
    }
    datagrams
}

#[test]
fn syslog_gets_what_the_c_library_would_send() {
    let scratch = Scratch::new();
    let socket = listen(&scratch.path("syslog"));
    let settings = LogSettings { syslog: true, facility: 16, ..settings(&scratch) };
    assert_eq!(write(&settings), None);
    let texts: Vec<String> =
        received(&socket).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    // local0 is 16; INFO 6, WARNING 4, ERROR 3
    let priorities: Vec<&str> = texts.iter().map(|text| text.split('>').next().unwrap()).collect();
    assert_eq!(priorities, ["<134", "<134", "<132", "<131", "<132", "<134"], "{texts:?}");
    for text in &texts {
        // `Mon dd HH:MM:SS`, then the program's name without its process.
        let rest = text.split_once('>').unwrap().1;
        let (date, rest) = rest.split_at(15);
        assert_eq!(date.split_whitespace().count(), 3, "{text}");
        assert!(rest.starts_with(" nova-novncproxy: 20") && !rest.contains('\n'), "{text}");
    }
    let options = json!({
        "use_syslog": true, "syslog_log_facility": "local0", "log_file": scratch.path("theirs.log"),
        "default_log_levels": ["sqlalchemy=WARN"],
    });
    if let Some(theirs) = Peer::syslog(&scratch.path("nova-novncproxy"), &options) {
        assert_eq!(neutral(&texts.join("\n")), neutral(&theirs.join("\n")));
    }
    // The file has the same lines, so nothing was lost on either way.
    let file = scratch.read("file.log");
    for (text, line) in texts.iter().zip(file.lines()) {
        assert!(text.ends_with(line), "{text}\n{line}");
    }
}

#[test]
fn syslog_is_found_again_when_it_was_restarted_and_a_missing_one_costs_no_line_elsewhere() {
    let scratch = Scratch::new();
    let settings = LogSettings { syslog: true, ..settings(&scratch) };
    assert_eq!(write(&settings), None);
    let file = scratch.read("file.log");
    assert!(file.lines().count() == 6 && !file.contains("were lost"), "{file}");
    let (logger, layer, _) = consolegate::telemetry::log::start(&settings).unwrap();
    use tracing_subscriber::layer::SubscriberExt;
    let subscriber = tracing_subscriber::registry::Registry::default().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..2 {
            let socket = listen(&scratch.path("syslog"));
            tracing::info!(target: "nova", "number {number}");
            logger.flush();
            let datagrams = received(&socket);
            assert_eq!(datagrams.len(), 1, "{number}");
            assert!(String::from_utf8_lossy(&datagrams[0]).ends_with(&format!("number {number}")));
            drop(socket);
            std::fs::remove_file(scratch.path("syslog")).unwrap();
        }
    });
}

/// The fields of a datagram in the journal's native protocol.
fn fields(datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let at = rest.iter().position(|byte| *byte == b'=' || *byte == b'\n').unwrap();
        let name = String::from_utf8(rest[..at].to_vec()).unwrap();
        let len = if rest[at] == b'=' {
            rest = &rest[at + 1..];
            rest.iter().position(|byte| *byte == b'\n').unwrap()
        } else {
            let len = u64::from_le_bytes(rest[at + 1..at + 9].try_into().unwrap());
            rest = &rest[at + 9..];
            usize::try_from(len).unwrap()
        };
        fields.insert(name, String::from_utf8(rest[..len].to_vec()).unwrap());
        assert_eq!(rest[len], b'\n');
        rest = &rest[len + 1..];
    }
    fields
}

#[test]
fn the_journal_gets_oslo_logs_fields() {
    let scratch = Scratch::new();
    let socket = listen(&scratch.path("journal"));
    let settings = LogSettings { journal: true, facility: 1, ..settings(&scratch) };
    assert_eq!(write(&settings), None);
    let entries: Vec<_> = received(&socket).iter().map(|datagram| fields(datagram)).collect();
    assert_eq!(entries.len(), 6);
    let names: Vec<&str> = entries[0].keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "CODE_FILE",
            "CODE_FUNC",
            "CODE_LINE",
            "LOGGER_LEVEL",
            "LOGGER_NAME",
            "MESSAGE",
            "PRIORITY",
            "PROCESS_NAME",
            "SYSLOG_FACILITY",
            "SYSLOG_IDENTIFIER",
            "THREAD_NAME",
        ]
    );
    let warning = &entries[2];
    assert!(warning["REQUEST_ID"].starts_with("req-"), "{warning:?}");
    assert!(warning["MESSAGE"].ends_with(&format!("[instance: {INSTANCE}] 100% of it")), "{warning:?}");
    assert_eq!((warning["PRIORITY"].as_str(), warning["LOGGER_LEVEL"].as_str()), ("4", "WARNING"));
    assert_eq!(warning["SYSLOG_IDENTIFIER"], "nova-novncproxy");
    assert_eq!(entries[0]["LOGGER_NAME"], "nova.console.websocketproxy");
}

/// Everything that comes to `listener` on one connection while `write` writes, message by message.
fn streamed(listener: &mut impl FnMut() -> Box<dyn Read>, write: impl FnOnce()) -> Vec<String> {
    write();
    let mut stream = listener();
    let mut bytes = Vec::new();
    // Python keeps its connection: what is there is all there is when the last record's text is.
    while !String::from_utf8_lossy(&bytes).contains("the last") || bytes.last() != Some(&0) {
        let mut buffer = [0; 4_096];
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..len]);
    }
    String::from_utf8(bytes).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn a_stream_to_syslog_is_what_python_sends() {
    let scratch = Scratch::new();
    let mut peer = Peer::start();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(scratch.path("stream")).unwrap();
    let by_tcp = format!("('127.0.0.1', {})", tcp.local_addr().unwrap().port());
    let by_path = format!("'{}'", scratch.path("stream").display());
    let mut accept_tcp = || Box::new(tcp.accept().unwrap().0) as Box<dyn Read>;
    let mut accept_unix = || Box::new(unix.accept().unwrap().0) as Box<dyn Read>;
    let mut both = |address: &str, accept: &mut dyn FnMut() -> Box<dyn Read>| {
        let config = scratch.path("logging.ini");
        let text = format!(
            "[loggers]\nkeys=root\n[handlers]\nkeys=s\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\nhandlers=s\n\
             [handler_s]\nclass=handlers.SysLogHandler\n\
             args=({address}, handlers.SysLogHandler.LOG_LOCAL3, handlers.socket.SOCK_STREAM)\nformatter=f\n\
             [formatter_f]\nformat=%(levelname)s %(name)s %(message)s\n"
        );
        std::fs::write(&config, text).unwrap();
        let ours = LogSettings { config: Some(config.clone()), ..LogSettings::default() };
        let mut accept = || accept();
        let ours = streamed(&mut accept, || assert_eq!(write(&ours), None));
        let theirs = streamed(&mut accept, || assert_eq!(peer.write(&json!({}), Some(&config)), None));
        assert_eq!(ours, theirs);
        assert!(ours.len() > 3 && ours[0].starts_with("<158>INFO "), "{ours:?}");
    };
    both(&by_tcp, &mut accept_tcp);
    both(&by_path, &mut accept_unix);
}
