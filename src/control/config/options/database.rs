//! The database of the cell (`oslo_db/options.py`).

use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::Kind;

pub(super) static DECLARED: &[OptionDef] =
    &[option("database", "connection", Kind::Str, "Database of the cell, as SQLAlchemy writes it")
        .deprecated(&[(DEFAULT, "sql_connection"), ("database", "sql_connection"), ("sql", "connection")])
        .secret()];
