//! Web files, on a ring and without one.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use consolegate::control::{Control, ControlSettings};
use consolegate::proto::http::{FileMeta, WebPath};
use consolegate::session::{FileEvent, FileHandle, Input, Question};
use nix::sys::stat::Mode;

use crate::common::{Scratch, answer, settings, start};

/// Runs `test` with a web root, on a ring where the kernel has one and on plain tokio.
fn on_both_runtimes(test: impl Fn(&Scratch, &Control)) {
    for prefer_uring in [true, false] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("root")).unwrap();
        let mut settings =
            ControlSettings { web_root: Some(scratch.path("root")), prefer_uring, ..settings() };
        settings.limits.read_bytes = 4_096;
        test(&scratch, &start(settings));
    }
}

fn open_with(control: &Control, path: &str, accepts_gzip: bool, wants_bytes: bool) -> FileEvent {
    let path = WebPath::parse(path.as_bytes()).unwrap();
    match answer(control, Question::OpenFile { path, accepts_gzip, wants_bytes }) {
        Input::File(event) => event,
        other => panic!("{other:?}"),
    }
}

fn open(control: &Control, path: &str) -> FileEvent {
    open_with(control, path, false, true)
}

fn opened(event: FileEvent) -> (FileHandle, FileMeta, Vec<u8>) {
    match event {
        FileEvent::Opened { file, meta, first } => (file, *meta, first.bytes().to_vec()),
        other => panic!("{other:?}"),
    }
}

fn read(control: &Control, file: &FileHandle, offset: u64) -> Vec<u8> {
    match answer(control, Question::ReadFile { file: file.clone(), offset }) {
        Input::File(FileEvent::Piece(piece)) => piece.bytes().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn set_modified(path: &Path, seconds: u64) {
    File::options().write(true).open(path).unwrap().set_modified(at(seconds)).unwrap();
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_small_file_comes_whole_with_its_head() {
    on_both_runtimes(|scratch, control| {
        let path = scratch.path("root/rfb.js");
        fs::write(&path, "export default 1;").unwrap();
        set_modified(&path, 1_700_000_000);
        let (_, meta, first) = opened(open(control, "/rfb.js"));
        assert_eq!(first, b"export default 1;");
        assert_eq!((meta.len, meta.gzip), (17, false));
        assert_eq!(meta.modified_unix_ns, 1_700_000_000_000_000_000);
        assert_eq!(meta.media_type, "text/javascript; charset=utf-8");
        let (_, meta, first) = opened(open_with(control, "/rfb.js", false, false));
        assert_eq!((meta.len, first.len()), (17, 0), "HEAD wants no bytes");
    });
}

#[test]
fn a_large_file_comes_in_pieces_of_the_configured_size() {
    on_both_runtimes(|scratch, control| {
        let content: Vec<u8> = (0..10_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs::write(scratch.path("root/big.bin"), &content).unwrap();
        let (file, meta, mut received) = opened(open(control, "/big.bin"));
        assert_eq!((meta.len, received.len()), (10_000, 4_096));
        while received.len() < content.len() {
            let piece = read(control, &file, received.len() as u64);
            assert!((1..=4_096).contains(&piece.len()));
            received.extend(piece);
        }
        assert!(received == content);
        assert_eq!(read(control, &file, 10_000), b"", "nothing behind the end");
    });
}

#[test]
fn an_open_file_outlives_its_name_and_ends_early_when_cut() {
    on_both_runtimes(|scratch, control| {
        let path = scratch.path("root/big.bin");
        fs::write(&path, vec![7; 10_000]).unwrap();
        let (file, ..) = opened(open(control, "/big.bin"));
        File::options().write(true).open(&path).unwrap().set_len(5_000).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(read(control, &file, 4_096).len(), 904);
        assert_eq!(read(control, &file, 5_000), b"");
    });
}

#[test]
fn directories_are_served_as_their_index_or_not_at_all() {
    on_both_runtimes(|scratch, control| {
        fs::create_dir(scratch.path("root/app")).unwrap();
        assert!(matches!(open(control, "/app"), FileEvent::Directory));
        assert!(matches!(open(control, "/app/"), FileEvent::Missing));
        fs::write(scratch.path("root/app/index.htm"), "htm").unwrap();
        assert_eq!(opened(open(control, "/app/")).2, b"htm");
        fs::write(scratch.path("root/app/index.html"), "html").unwrap();
        assert_eq!(opened(open(control, "/app/")).2, b"html");
        fs::write(scratch.path("root/index.html"), "root").unwrap();
        let (_, meta, first) = opened(open(control, "/"));
        assert_eq!((meta.media_type, first.as_slice()), ("text/html; charset=utf-8", b"root".as_slice()));
    });
}

#[test]
fn what_is_not_a_regular_file_is_missing() {
    on_both_runtimes(|scratch, control| {
        fs::write(scratch.path("root/vnc.html"), "x").unwrap();
        nix::unistd::mkfifo(&scratch.path("root/fifo"), Mode::S_IRWXU).unwrap();
        symlink("/dev/zero", scratch.path("root/zero")).unwrap();
        symlink("loop", scratch.path("root/loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scratch.path("root/socket")).unwrap();
        let long = format!("/{}", "n".repeat(300));
        for path in ["/vnc.html/", "/vnc.html/x", "/nothing", "/fifo", "/zero", "/loop", "/socket", &long] {
            let event = open(control, path);
            assert!(matches!(event, FileEvent::Missing), "{path}: {event:?}");
        }
    });
}

#[test]
fn symbolic_links_are_followed_and_texts_that_leave_the_root_are_not_paths() {
    on_both_runtimes(|scratch, control| {
        fs::create_dir(scratch.path("share")).unwrap();
        fs::write(scratch.path("share/util.js"), "linked").unwrap();
        fs::write(scratch.path("secret"), "secret").unwrap();
        symlink(scratch.path("share"), scratch.path("root/core")).unwrap();
        assert_eq!(opened(open(control, "/core/util.js")).2, b"linked");
        for path in ["/../secret", "/%2e%2e/secret", "/core/..%2f..%2fsecret", "/core/../../secret"] {
            assert!(WebPath::parse(path.as_bytes()).is_err(), "{path}");
        }
    });
}

#[test]
fn a_compressed_neighbour_is_served_when_accepted_and_not_older() {
    on_both_runtimes(|scratch, control| {
        let (plain, packed) = (scratch.path("root/rfb.js"), scratch.path("root/rfb.js.gz"));
        fs::write(&plain, "plain").unwrap();
        fs::write(&packed, "gz").unwrap();
        set_modified(&plain, 1_700_000_000);
        for (modified, accepts_gzip, expected) in [
            (1_700_000_000, true, "gz"),
            (1_700_000_001, true, "gz"),
            (1_699_999_999, true, "plain"),
            (1_700_000_001, false, "plain"),
        ] {
            set_modified(&packed, modified);
            let (_, meta, first) = opened(open_with(control, "/rfb.js", accepts_gzip, true));
            assert_eq!(first, expected.as_bytes(), "{modified} {accepts_gzip}");
            assert_eq!(meta.gzip, expected == "gz");
            assert_eq!(meta.len, expected.len() as u64);
            assert_eq!(meta.media_type, "text/javascript; charset=utf-8");
        }
        fs::remove_file(&plain).unwrap();
        assert!(matches!(open_with(control, "/rfb.js", true, true), FileEvent::Missing));
    });
}

#[test]
fn a_root_replaced_by_rename_is_noticed() {
    on_both_runtimes(|scratch, control| {
        fs::write(scratch.path("root/version"), "old").unwrap();
        assert_eq!(opened(open(control, "/version")).2, b"old");
        fs::create_dir(scratch.path("next")).unwrap();
        fs::write(scratch.path("next/version"), "new").unwrap();
        fs::rename(scratch.path("root"), scratch.path("previous")).unwrap();
        assert!(matches!(open(control, "/version"), FileEvent::Missing));
        fs::rename(scratch.path("next"), scratch.path("root")).unwrap();
        assert_eq!(opened(open(control, "/version")).2, b"new");
    });
}

#[test]
fn without_a_web_root_every_file_is_missing() {
    let control = start(settings());
    assert!(matches!(open(&control, "/"), FileEvent::Missing));
    assert!(matches!(open(&control, "/etc/passwd"), FileEvent::Missing));
}

#[test]
fn a_foreign_handle_is_a_failure() {
    let control = start(settings());
    let question = Question::ReadFile { file: FileHandle::new(5_u8), offset: 0 };
    assert!(matches!(answer(&control, question), Input::File(FileEvent::Failed)));
}
