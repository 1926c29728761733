//! Every test runs on both engines; where the kernel denies `io_uring`, its half says so and counts as skipped.

/// Makes two tests of each function: `name::epoll` and `name::io_uring`. It takes the engine's name, as the
/// option `io_engine` has it.
macro_rules! on_both_engines {
    ($($name:ident,)*) => {
        $(
            mod $name {
                #[test]
                fn epoll() {
                    super::$name("epoll");
                }

                #[test]
                fn io_uring() {
                    if crate::engines::has_io_uring() {
                        super::$name("io_uring");
                    }
                }
            }
        )*
    };
}

/// Whether `io_uring` can be used here. Says why not.
pub(crate) fn has_io_uring() -> bool {
    use consolegate::engine::uring::{Unavailable, probe};
    match probe() {
        // By name it can be had there.
        Ok(()) | Err(Unavailable::KeepsFiles) => true,
        Err(why) => {
            println!("SKIPPED: {why}");
            false
        }
    }
}
