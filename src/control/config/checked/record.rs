//! `record`, which has had two types.

use std::path::{Path, PathBuf};

use super::{DEFAULT, Exit, Read};

/// What `record = true` of old files stands for.
const RECORD_TRUE: &str = "record";

/// Where sessions are recorded, absolute.
///
/// Until Nova 13 the option was a boolean, whose `true` made the file name `True`.
pub(super) fn path(read: &Read<'_>) -> Result<Option<PathBuf>, Exit> {
    let path = match read.text(DEFAULT, "record") {
        None => return Ok(None),
        Some(text) if text.eq_ignore_ascii_case("false") => return Ok(None),
        Some(text) if text.eq_ignore_ascii_case("true") => RECORD_TRUE,
        Some(text) => text,
    };
    let absolute = std::path::absolute(path);
    absolute.map(Some).map_err(|error| Exit::config(format!("Can not tell where {path} is: {error}")))
}

/// Says so where the file is as old as that.
pub(super) fn warning(read: &Read<'_>) -> Option<String> {
    let is_old = read.text(DEFAULT, "record").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let path = std::path::absolute(Path::new(RECORD_TRUE)).ok().filter(|_| is_old)?;
    Some(format!("record = true is the way of Nova 13: sessions are recorded to {}.N.", path.display()))
}
