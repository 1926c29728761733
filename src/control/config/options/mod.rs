//! Every option, declared once: parsing, `--help`, the warning about options without effect and the
//! documentation derive from this table.
//!
//! Names, types and defaults are Nova's (`nova/conf/`, `oslo_log/_options.py`, `oslo_messaging`); the group
//! `[consolegate]` is ours. Those that other services of the same file read, and that operators look for in
//! connection with consoles, are declared too; all others are ignored silently.

use std::sync::LazyLock;

use super::values::Kind;
use crate::session::limits::ROWS;

mod database;
mod def;
mod elsewhere;
mod log;
mod machine;
mod messaging;
mod nova;
mod own;
mod tls;

pub use def::{Default, Effect, Flag, OptionDef};
pub use machine::Fact;
pub(super) use messaging::RABBIT;

/// Group of the options that are in no group.
pub const DEFAULT: &str = "DEFAULT";
/// Group of our own options, which no service of Nova registers.
pub const OWN: &str = "consolegate";

/// Every option there is: Nova's, ours, and one per bound of `session::limits`.
pub fn options() -> &'static [OptionDef] {
    static ALL: LazyLock<Vec<OptionDef>> = LazyLock::new(|| {
        let limits = ROWS.iter().map(|row| {
            let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let mut option = OptionDef::new(
                OWN,
                row.name,
                Kind::Int { min: bound(row.min), max: bound(row.max) },
                row.reason,
            );
            option.default = Default::Number(bound(row.default));
            option
        });
        let declared = [
            nova::DECLARED,
            tls::DECLARED,
            log::DECLARED,
            messaging::DECLARED,
            database::DECLARED,
            own::DECLARED,
            elsewhere::DECLARED,
        ];
        let declared = declared.into_iter().flatten().cloned();
        declared.chain(limits).chain(elsewhere::api_database(database::DECLARED)).collect()
    });
    &ALL
}

/// The option of that name.
pub fn find(group: &str, name: &str) -> Option<&'static OptionDef> {
    options().iter().find(|option| option.group == group && option.name == name)
}

/// The option that has had this name before.
pub(super) fn find_by_old_name(group: &str, name: &str) -> Option<&'static OptionDef> {
    options().iter().find(|option| option.deprecated.contains(&(group, name)))
}

const fn option(group: &'static str, name: &'static str, kind: Kind, help: &'static str) -> OptionDef {
    OptionDef::new(group, name, kind, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::program::Program;

    #[test]
    fn every_default_fits_its_type() {
        for option in options() {
            for program in Program::ALL {
                if let Some(text) = option.default_text(program) {
                    assert!(option.kind.parse(&text).is_ok(), "[{}] {}", option.group, option.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, option) in options().iter().enumerate() {
            let name = (option.group, option.name);
            assert!(options()[..index].iter().all(|other| (other.group, other.name) != name), "{name:?}");
            assert!(!option.deprecated.contains(&name), "{name:?} is deprecated by itself");
        }
    }

    #[test]
    fn every_bound_is_an_option() {
        for row in ROWS {
            let option = find(OWN, row.name).unwrap();
            assert_eq!(option.default_text(Program::SerialProxy), Some(row.default.to_string()));
        }
    }

    #[test]
    fn variables_are_named_as_oslo_config_does() {
        assert_eq!(find("database", "connection").unwrap().variable(), "OS_DATABASE__CONNECTION");
        assert_eq!(find(DEFAULT, "log_file").unwrap().variable(), "OS_DEFAULT__LOG_FILE");
    }
}
