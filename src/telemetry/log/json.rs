//! `use_json`: one object per record (`oslo_log/formatters.py`, `JSONFormatter`).

use serde_json::{Value, json};

use super::clock::seconds;
use super::format::{Process, error_summary};
use super::record::{Record, RequestId};

/// Appends the record's line.
pub(super) fn append(record: &Record, process: &Process, asctime: &str, out: &mut String) {
    let message = process.message(record);
    let created = seconds(record.at);
    let millisecond = process.clock.local(record.at).millisecond();
    let object = json!({
        "message": message,
        "asctime": asctime,
        "name": record.name(),
        "msg": message,
        // Messages are whole when they come here.
        "args": [],
        "levelname": record.severity.name(),
        "levelno": record.severity.number(),
        "pathname": record.place.file,
        "filename": record.place.file_name(),
        "module": record.place.module(),
        "lineno": record.place.line,
        "funcname": record.place.function(),
        "created": created,
        "msecs": f64::from(millisecond),
        "relative_created": (created - seconds(process.started)) * 1_000.0,
        "thread": record.thread_id,
        "thread_name": record.thread_name(),
        "process_name": "MainProcess",
        "process": process.id,
        "traceback": record.exception,
        "hostname": process.hostname,
        "error_summary": error_summary(record).unwrap_or_default(),
        "context": context(record),
        "extra": match &record.instance_uuid {
            Some(uuid) => json!({ "instance_uuid": uuid }),
            None => json!({}),
        },
    });
    // A map of texts and numbers cannot fail to become text.
    out.push_str(&object.to_string());
    out.push('\n');
}

/// `RequestContext.get_logging_values` of Nova's administrator's context, less what only its own code has a use for.
fn context(record: &Record) -> Value {
    let Some(number) = record.request else { return json!({}) };
    json!({
        "request_id": RequestId(number).to_string(),
        "global_request_id": null,
        "user": null,
        "user_id": null,
        "user_name": null,
        "project": null,
        "project_id": null,
        "project_name": null,
        "domain": null,
        "domain_name": null,
        "user_domain": null,
        "user_domain_name": null,
        "project_domain": null,
        "project_domain_name": null,
        "system_scope": null,
        "resource_uuid": null,
        "roles": [],
        "user_identity": "- - - - -",
        "is_admin": true,
        "is_admin_project": true,
        "read_only": false,
        "show_deleted": false,
        "read_deleted": "no",
        "remote_address": null,
        "quota_class": null,
        "service_catalog": [],
    })
}
