//! Which of Nova's console proxies this process is.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::console::ConsoleType;

/// One of Nova's programs (`nova/cmd/novncproxy.py` and its neighbours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `nova-novncproxy`
    NoVncProxy,
    /// `nova-spicehtml5proxy`
    SpiceHtml5Proxy,
    /// `nova-serialproxy`
    SerialProxy,
}

impl Program {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 3] = [Self::NoVncProxy, Self::SpiceHtml5Proxy, Self::SerialProxy];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; 3] = ["nova-novncproxy", "nova-spicehtml5proxy", "nova-serialproxy"];

    /// The name operators start it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        let [novnc, spice, serial] = Self::NAMES;
        match self {
            Self::NoVncProxy => novnc,
            Self::SpiceHtml5Proxy => spice,
            Self::SerialProxy => serial,
        }
    }

    /// The program of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }

    /// The program that `argv[0]` names, if it is one of Nova's.
    #[must_use]
    pub fn of(argv: &[OsString]) -> Option<Self> {
        Self::from_name(&base_name(argv.first()?))
    }

    /// Which consoles it serves.
    #[must_use]
    pub fn console_type(self) -> ConsoleType {
        match self {
            Self::NoVncProxy => ConsoleType::NoVnc,
            Self::SpiceHtml5Proxy => ConsoleType::SpiceHtml5,
            Self::SerialProxy => ConsoleType::Serial,
        }
    }
}

/// The name a program was started by: the base name of argv\[0\], less a trailing `.py`, as oslo.config
/// takes it (`oslo_config/cfg.py`, `ConfigOpts._pre_setup`).
pub(super) fn base_name(argv0: &OsStr) -> String {
    let name = Path::new(argv0).file_name().unwrap_or(argv0).to_string_lossy();
    name.strip_suffix(".py").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_name_of_argv0_decides() {
        for (argv0, expected) in [
            ("/usr/bin/nova-novncproxy", Some(Program::NoVncProxy)),
            ("nova-spicehtml5proxy", Some(Program::SpiceHtml5Proxy)),
            ("./nova-serialproxy.py", Some(Program::SerialProxy)),
            ("/usr/bin/consolegate", None),
            ("", None),
        ] {
            assert_eq!(Program::from_name(&base_name(OsStr::new(argv0))), expected, "{argv0}");
        }
    }
}
