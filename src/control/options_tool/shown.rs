//! One configuration, for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use crate::control::config::{Effect, Origin, Program, Resolved, Survey, Value};

/// A block of lines per option.
pub(super) fn text(survey: &Survey) -> String {
    let mut text = format!("# {}\n", survey.program.name());
    for warning in &survey.warnings {
        let _ = writeln!(text, "# warning: {warning}");
    }
    for one in &survey.options {
        let option = one.option;
        let default = option.default_text(survey.program).map_or_else(|| "(unset)".to_owned(), spelled);
        let value = match &one.result {
            Ok(Value::Unset) => "value    (unset)".to_owned(),
            Ok(value) => format!("value    {}", as_in_a_file(value)),
            // Some of oslo.config's messages have two lines.
            Err(reason) => format!("ERROR    {}", reason.replace('\n', " ")),
        };
        let _ = write!(
            text,
            "\n[{}] {}\n  type     {}\n  default  {default}\n  {value}\n  from     {}\n  effect   {}\n",
            option.group,
            option.name,
            option.kind,
            from(&one.origin),
            effect(one.effect),
        );
        if let Some((group, name)) = one.old_name() {
            let _ = writeln!(text, "  old name [{group}] {name}");
        }
    }
    text
}

/// One document; its keys are listed at the top of the module above.
pub(super) fn json(survey: &Survey) -> String {
    let options: Vec<_> = survey.options.iter().map(|one| option_json(one, survey.program)).collect();
    let document = json!({"program": survey.program.name(), "warnings": survey.warnings, "options": options});
    format!("{document:#}\n")
}

fn option_json(one: &Resolved, program: Program) -> serde_json::Value {
    let option = one.option;
    let (effect, reason) = match one.effect {
        Effect::Used => ("used", None),
        Effect::NoEffect(why) => ("none", Some(why)),
        Effect::Elsewhere(who) => ("elsewhere", Some(who)),
    };
    let origin = match &one.origin {
        Origin::Default => json!({"kind": "default"}),
        Origin::File { path, line, group, name } => json!({
            "kind": "file", "file": path.to_string_lossy(), "line": line, "group": group, "name": name,
        }),
        Origin::Variable(name) => json!({"kind": "environment", "variable": name}),
        Origin::CommandLine => json!({"kind": "command line"}),
    };
    let deprecated: Vec<_> =
        option.deprecated.iter().map(|(group, name)| json!({"group": group, "name": name})).collect();
    json!({
        "group": option.group,
        "name": option.name,
        "type": option.kind.to_string(),
        "help": option.help,
        "secret": option.secret,
        "default": option.default_text(program),
        "deprecated": deprecated,
        "value": one.result.as_ref().map_or(serde_json::Value::Null, value_json),
        "error": one.result.as_ref().err(),
        "origin": origin,
        "effect": effect,
        "reason": reason,
    })
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Unset => serde_json::Value::Null,
        Value::Bool(on) => json!(on),
        Value::Int(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Str(text) => json!(text),
        Value::List(items) => json!(items),
        Value::Secret(_) => json!(value.to_string()),
    }
}

fn as_in_a_file(value: &Value) -> String {
    match value {
        Value::Bool(on) => on.to_string(),
        Value::List(items) => spelled(items.join(",")),
        value => spelled(value.to_string()),
    }
}

/// Nothing would look like a slip of the page.
fn spelled(text: String) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { text }
}

fn from(origin: &Origin) -> String {
    match origin {
        Origin::File { line, .. } => format!("{origin}, line {line}"),
        origin => origin.to_string(),
    }
}

fn effect(effect: Effect) -> String {
    match effect {
        Effect::Used => "has effect".to_owned(),
        Effect::NoEffect(why) => format!("accepted without effect: {why}"),
        Effect::Elsewhere(who) => format!("read by another service: {who}"),
    }
}
