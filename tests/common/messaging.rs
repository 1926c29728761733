//! The message bus as a configuration file has it.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use consolegate::control::PortCheck;
use consolegate::control::config::load;

/// What the port check becomes by a file with this text.
pub(crate) fn port_check(text: &str) -> PortCheck {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("consolegate-rpc-{}-{number}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let argv = [OsString::from("nova-serialproxy"), "--config-file".into(), path.clone().into_os_string()];
    let config = load(&argv, &|_| None).unwrap();
    std::fs::remove_file(path).unwrap();
    config.port_check
}
