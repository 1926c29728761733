//! The files that may be opened: rules of landlock(7).
//!
//! Stat, chdir and connecting to a socket's path are not among what landlock refuses, so probes of files that are
//! only looked for, /dev/log, the journal and a database's socket need no rule. Executing is granted nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Paths, SandboxError};

/// What the C library, the resolver, the time zones and the certificate stores of distributions are made of, and
/// what tells how many cores there are.
const SYSTEM: [&str; 10] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/var/lib/ca-certificates",
    "/proc/sys",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];
/// Files of those that often are links to elsewhere.
const LINKED: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/localtime",
];
/// Devices, none of which keeps what is written to it.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"];
/// Of the process itself; state reports read there.
const PROC: [&str; 2] = ["/proc/self", "/proc/sys"];

/// What came of it.
pub(super) struct Confined {
    pub(super) summary: String,
    /// To be kept open
    pub(super) held: Vec<PathFd>,
}

/// Lets this thread, and those it starts, open `paths` and the system's own files, and nothing else.
pub(super) fn confine(paths: &Paths, required: bool) -> Result<Confined, SandboxError> {
    let granted = granted(paths, required)?;
    let mut ruleset = Ruleset::default();
    if required {
        ruleset = ruleset
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))
            .map_err(|_| SandboxError::NoLandlock)?
            .set_compatibility(CompatLevel::BestEffort);
    }
    // Not the right to connect to sockets' paths, which comes with a later version: the log's, the journal's and
    // a database's may be anywhere.
    let mut ruleset = ruleset.handle_access(AccessFs::from_all(ABI::V5))?.scope(Scope::Signal)?.create()?;
    for (path, access) in &granted {
        // What is missing, or closed to this user, cannot be opened anyway.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { *access } else { *access & AccessFs::from_file(ABI::V5) };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
    }
    let status = ruleset.restrict_self()?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Err(SandboxError::NoLandlock);
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(SandboxError::NoLandlock);
    }
    let root = match granted.get(Path::new("/")) {
        Some(access) if access.contains(AccessFs::WriteFile) => ", but / may be written",
        Some(_) => ", but all of / may be read",
        None => "",
    };
    Ok(Confined {
        summary: format!("landlock ABI {}{root}", effective_abi as i32),
        held: PROC.iter().filter_map(|path| PathFd::new(path).ok()).collect(),
    })
}

type Granted = BTreeMap<PathBuf, BitFlags<AccessFs>>;

fn granted(paths: &Paths, required: bool) -> Result<Granted, SandboxError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let mut granted = Granted::new();
    let mut grant = |path: PathBuf, access| {
        *granted.entry(path).or_insert(BitFlags::EMPTY) |= access;
    };
    SYSTEM.into_iter().chain(PROC).for_each(|path| grant(path.into(), read));
    DEVICES.into_iter().for_each(|path| grant(path.into(), read | AccessFs::WriteFile));
    for path in LINKED.iter().map(Path::new).chain(paths.read.iter().map(PathBuf::as_path)) {
        for place in places(path, path.exists()) {
            match place {
                Place::Directory(directory) => grant(directory, read),
                // All of it rather than a file that is lost when it is renewed; not where the operator insists.
                Place::Root if required => grant(path.to_owned(), read),
                Place::Root => grant("/".into(), read),
            }
        }
    }
    for path in &paths.write {
        let in_root = path.exists() || path.parent() == Some(Path::new("/"));
        for place in places(path, in_root) {
            match place {
                Place::Directory(directory) => grant(directory, write),
                Place::Root if required => return Err(SandboxError::WritesRoot(path.clone())),
                Place::Root => grant("/".into(), write),
            }
        }
    }
    Ok(granted)
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    /// It is the root directory, or a file in it
    Root,
}

/// A directory, or that of a file, and of what it links to; for what is missing the nearest one that exists, if
/// `in_root` also the root directory: what is not there to be read may be a default's name anywhere.
fn places(path: &Path, in_root: bool) -> Vec<Place> {
    let real = fs::canonicalize(path).ok();
    let mut places = Vec::new();
    for path in [Some(path.to_owned()), real].into_iter().flatten() {
        let place = match path.ancestors().find(|directory| directory.is_dir()) {
            Some(directory) if directory != Path::new("/") => Place::Directory(directory.to_owned()),
            _ if in_root => Place::Root,
            _ => continue,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory(path: &Path) -> Place {
        Place::Directory(path.to_owned())
    }

    #[test]
    fn a_file_is_granted_with_its_directory_and_that_of_its_target() {
        let root = std::env::temp_dir().join(format!("consolegate-places-{}", std::process::id()));
        let (live, archive) = (root.join("live"), root.join("archive"));
        fs::create_dir_all(&live).unwrap();
        fs::create_dir_all(&archive).unwrap();
        fs::write(archive.join("cert1.pem"), "").unwrap();
        symlink("../archive/cert1.pem", live.join("cert.pem")).unwrap();
        assert_eq!(places(&live.join("cert.pem"), false), [directory(&live), directory(&archive)]);
        assert_eq!(places(&archive.join("cert1.pem"), false), [directory(&archive)]);
        assert_eq!(places(&root.join("not/yet/there.log"), false), [directory(&root)]);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_root_directory_is_never_granted_unseen() {
        assert_eq!(places(Path::new("/self.pem"), false), []);
        assert_eq!(places(Path::new("/no-such-directory/cert.pem"), false), []);
        assert_eq!(places(Path::new("/etc"), true), [directory(Path::new("/etc"))]);
        assert_eq!(places(Path::new("/"), true), [Place::Root]);
        let paths = Paths { read: vec!["/".into()], write: Vec::new() };
        assert!(granted(&paths, false).unwrap().contains_key(Path::new("/")));
        let paths = Paths { read: Vec::new(), write: vec!["/rec".into()] };
        assert!(matches!(granted(&paths, true), Err(SandboxError::WritesRoot(_))));
        assert!(granted(&paths, false).unwrap()[Path::new("/")].contains(AccessFs::MakeReg));
    }
}
