//! The slow path: whatever blocks, on one thread named `control` that no worker ever waits for.

pub mod sql;
