//! Values by the type that their declaration promises.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::control::config::survey::Values;
use crate::control::config::values::Value;
use crate::secret::Secret;

/// Values by the type that their declaration promises.
pub(super) struct Read<'a>(pub(super) &'a Values, RefCell<Vec<PathBuf>>);

impl<'a> Read<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self(values, RefCell::default())
    }

    /// Every path that [`Self::path`] has found.
    pub(super) fn named_paths(self) -> Vec<PathBuf> {
        self.1.into_inner()
    }

    pub(super) fn is_on(&self, group: &str, name: &str) -> bool {
        *self.0.value(group, name) == Value::Bool(true)
    }

    pub(super) fn int(&self, group: &str, name: &str) -> Option<i64> {
        match self.0.value(group, name) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Text that is not empty.
    pub(super) fn text(&self, group: &str, name: &str) -> Option<&str> {
        match self.0.value(group, name) {
            Value::Str(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Text that may be empty.
    pub(super) fn whole_text(&self, group: &str, name: &str) -> &str {
        match self.0.value(group, name) {
            Value::Str(text) => text,
            _ => "",
        }
    }

    /// A path, from the directory that the program was started in: a daemon leaves it.
    pub(super) fn path(&self, group: &str, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(group, name)?);
        let path = std::path::absolute(&path).unwrap_or(path);
        self.1.borrow_mut().push(path.clone());
        Some(path)
    }

    pub(super) fn list(&self, group: &str, name: &str) -> &[String] {
        match self.0.value(group, name) {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn secret(&self, group: &str, name: &str) -> Option<Secret> {
        match self.0.value(group, name) {
            Value::Secret(secret) if !secret.is_empty() => Some(secret.clone()),
            _ => None,
        }
    }
}
