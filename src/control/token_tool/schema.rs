//! The two tables of a cell database that a console token needs, for demonstrations and tests.
//!
//! Column names, types and nullability are those of Nova's migrations (`nova/db/main/migrations`, and
//! `nova/db/main/models.py`, `ConsoleAuthToken` and `Instance`), so that a real Nova can use the file's
//! tables; `tests/control_real.rs` compares them. A real cloud's tables are made by `nova-manage db sync`.

/// Run in this order; each does nothing when its object exists.
pub(super) const STATEMENTS: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS console_auth_tokens (
        created_at DATETIME, updated_at DATETIME,
        id INTEGER NOT NULL PRIMARY KEY,
        token_hash VARCHAR(255) NOT NULL CONSTRAINT uniq_console_auth_tokens0token_hash UNIQUE,
        console_type VARCHAR(255) NOT NULL,
        host VARCHAR(255) NOT NULL,
        port INTEGER NOT NULL,
        tls_port INTEGER,
        internal_access_path VARCHAR(255),
        instance_uuid VARCHAR(36) NOT NULL,
        expires INTEGER NOT NULL,
        access_url_base VARCHAR(255))",
    "CREATE INDEX IF NOT EXISTS console_auth_tokens_instance_uuid_idx
        ON console_auth_tokens (instance_uuid)",
    "CREATE INDEX IF NOT EXISTS console_auth_tokens_host_expires_idx
        ON console_auth_tokens (host, expires)",
    "CREATE INDEX IF NOT EXISTS console_auth_tokens_token_hash_instance_uuid_idx
        ON console_auth_tokens (token_hash, instance_uuid)",
    "CREATE TABLE IF NOT EXISTS instances (
        created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER,
        id INTEGER NOT NULL PRIMARY KEY, internal_id INTEGER,
        uuid VARCHAR(36) NOT NULL CONSTRAINT uniq_instances0uuid UNIQUE,
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
        launched_at DATETIME, terminated_at DATETIME,
        shutdown_terminate BOOLEAN, disable_terminate BOOLEAN,
        locked BOOLEAN, locked_by VARCHAR(5), cleaned INTEGER, hidden BOOLEAN)",
    "CREATE INDEX IF NOT EXISTS instances_uuid_deleted_idx ON instances (uuid, deleted)",
];
