//! The two tables of a cell database that a console token needs, for demonstrations and tests.
//!
//! Column names, types and nullability are those of Nova's migrations (`nova/db/main/migrations`, and
//! `nova/db/main/models.py`, `ConsoleAuthToken` and `Instance`), so that a real Nova can use the tables;
//! `tests/control_real.rs` compares them. A real cloud's tables are made by `nova-manage db sync`.

use std::sync::Arc;

use crate::control::sql::Dialect;

/// `{id}` and `{time}` are types that each dialect has a name of its own for.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS console_auth_tokens (
        created_at {time}, updated_at {time},
        id {id},
        token_hash VARCHAR(255) NOT NULL,
        console_type VARCHAR(255) NOT NULL,
        host VARCHAR(255) NOT NULL,
        port INTEGER NOT NULL,
        tls_port INTEGER,
        internal_access_path VARCHAR(255),
        instance_uuid VARCHAR(36) NOT NULL,
        expires INTEGER NOT NULL,
        access_url_base VARCHAR(255),
        CONSTRAINT uniq_console_auth_tokens0token_hash UNIQUE (token_hash)",
    "CREATE TABLE IF NOT EXISTS instances (
        created_at {time}, updated_at {time}, deleted_at {time}, deleted INTEGER,
        id {id}, internal_id INTEGER,
        uuid VARCHAR(36) NOT NULL,
        user_id VARCHAR(255), project_id VARCHAR(255), reservation_id VARCHAR(255),
        display_name VARCHAR(255), display_description VARCHAR(255), hostname VARCHAR(255),
        host VARCHAR(255), node VARCHAR(255), compute_id BIGINT, cell_name VARCHAR(255),
        launched_on TEXT, availability_zone VARCHAR(255),
        image_ref VARCHAR(255), kernel_id VARCHAR(255), ramdisk_id VARCHAR(255), launch_index INTEGER,
        key_name VARCHAR(255), key_data TEXT, user_data TEXT,
        power_state INTEGER, vm_state VARCHAR(255), task_state VARCHAR(255), progress INTEGER,
        instance_type_id INTEGER, memory_mb INTEGER, vcpus INTEGER, root_gb INTEGER,
        ephemeral_gb INTEGER, ephemeral_key_uuid VARCHAR(36),
        root_device_name VARCHAR(255), default_ephemeral_device VARCHAR(255),
        default_swap_device VARCHAR(255), config_drive VARCHAR(255), auto_disk_config BOOLEAN,
        os_type VARCHAR(255), architecture VARCHAR(255), vm_mode VARCHAR(255),
        access_ip_v4 VARCHAR(39), access_ip_v6 VARCHAR(39),
        launched_at {time}, terminated_at {time},
        shutdown_terminate BOOLEAN, disable_terminate BOOLEAN,
        locked BOOLEAN, locked_by VARCHAR(5), cleaned INTEGER, hidden BOOLEAN,
        CONSTRAINT uniq_instances0uuid UNIQUE (uuid)",
];

/// Table, name and columns of each index.
const INDEXES: [(usize, &str, &str); 4] = [
    (0, "console_auth_tokens_instance_uuid_idx", "instance_uuid"),
    (0, "console_auth_tokens_host_expires_idx", "host, expires"),
    (0, "console_auth_tokens_token_hash_instance_uuid_idx", "token_hash, instance_uuid"),
    (1, "instances_uuid_deleted_idx", "uuid, deleted"),
];

const NAMES: [&str; 2] = ["console_auth_tokens", "instances"];

/// Run in this order; each does nothing when its object exists.
pub(super) fn statements(dialect: Dialect) -> Vec<Arc<str>> {
    let (id, time) = match dialect {
        Dialect::Sqlite => ("INTEGER NOT NULL PRIMARY KEY", "DATETIME"),
        Dialect::MySql => ("INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY", "DATETIME"),
        Dialect::Postgres => ("SERIAL PRIMARY KEY", "TIMESTAMP"),
    };
    let mut statements = Vec::new();
    for (number, table) in TABLES.iter().enumerate() {
        let mut table = table.replace("{id}", id).replace("{time}", time);
        let indexes = INDEXES.iter().filter(|(of, ..)| *of == number);
        if dialect == Dialect::MySql {
            // MySQL has no CREATE INDEX IF NOT EXISTS.
            indexes.for_each(|(_, name, columns)| table.push_str(&format!(", INDEX {name} ({columns})")));
            statements.push(table + ") DEFAULT CHARACTER SET utf8");
        } else {
            statements.push(table + ")");
            statements.extend(indexes.map(|(_, name, columns)| {
                format!("CREATE INDEX IF NOT EXISTS {name} ON {} ({columns})", NAMES[number])
            }));
        }
    }
    statements.into_iter().map(Arc::from).collect()
}
