//! Which engine runs: what the operator wants, as far as the kernel lets it.

use super::uring::{self, Unavailable};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The better one that works here
    Auto,
    /// `io_uring` or nothing
    Uring,
    /// epoll
    Epoll,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// [`uring::UringEngine`]
    Uring,
    /// [`super::epoll::EpollEngine`]
    Epoll,
}

impl EngineKind {
    /// As logs and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// The engine to use, and what speaks against `io_uring` where `Auto` fell back or the operator insists.
///
/// # Errors
///
/// The operator wants `io_uring`, and this is why it cannot be used.
pub fn detect(preference: Preference) -> Result<(EngineKind, Option<Unavailable>), Unavailable> {
    choose(preference, uring::probe)
}

fn choose(
    preference: Preference,
    probe: impl FnOnce() -> Result<(), Unavailable>,
) -> Result<(EngineKind, Option<Unavailable>), Unavailable> {
    match preference {
        Preference::Epoll => Ok((EngineKind::Epoll, None)),
        Preference::Uring => match probe() {
            Ok(()) => Ok((EngineKind::Uring, None)),
            // It works, and costs memory: who wants it by name may have it.
            Err(why @ Unavailable::KeepsFiles) => Ok((EngineKind::Uring, Some(why))),
            Err(why) => Err(why),
        },
        Preference::Auto => Ok(match probe() {
            Ok(()) => (EngineKind::Uring, None),
            Err(why) => (EngineKind::Epoll, Some(why)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_io_uring_where_the_probe_passes() {
        assert!(matches!(choose(Preference::Auto, || Ok(())), Ok((EngineKind::Uring, None))));
        let fallen = choose(Preference::Auto, || Err(Unavailable::Opcode(13)));
        assert!(matches!(fallen, Ok((EngineKind::Epoll, Some(Unavailable::Opcode(13))))));
    }

    #[test]
    fn a_wish_for_io_uring_is_not_quietly_changed() {
        assert!(choose(Preference::Uring, || Err(Unavailable::Opcode(13))).is_err());
        let insisted = choose(Preference::Uring, || Err(Unavailable::KeepsFiles));
        assert!(matches!(insisted, Ok((EngineKind::Uring, Some(Unavailable::KeepsFiles)))));
        let fallen = choose(Preference::Auto, || Err(Unavailable::KeepsFiles));
        assert!(matches!(fallen, Ok((EngineKind::Epoll, Some(Unavailable::KeepsFiles)))));
    }

    #[test]
    fn epoll_is_taken_without_asking_the_kernel() {
        let kind = choose(Preference::Epoll, || panic!("probed"));
        assert!(matches!(kind, Ok((EngineKind::Epoll, None))));
    }
}
