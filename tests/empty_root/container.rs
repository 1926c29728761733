//! What a container runtime makes of a folder: a root that nobody can write to, with namespaces of its own, for a
//! program without privileges.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chdir, pivot_root, setgroups, setresgid, setresuid};

/// Why the kernel lets nobody make namespaces here, if so.
pub(crate) fn denied() -> Option<String> {
    let output =
        Command::new("unshare").args(["--mount", "--pid", "--ipc", "--uts", "--fork", "true"]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(reason) => Some(format!("unshare: {reason}")),
    }
}

/// A folder that becomes the root of a program.
pub(crate) struct Root {
    pub(crate) path: PathBuf,
}

impl Root {
    /// With the executable as `inner`, what it is linked to, and nothing else.
    pub(crate) fn with_executable(path: PathBuf, executable: &Path, inner: &str) -> Self {
        let root = Self { path };
        root.copy(executable, inner);
        let output = Command::new("ldd").arg(executable).output().expect("ldd");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        // `NAME => PATH (ADDRESS)`, the loader's `PATH (ADDRESS)`, and the vDSO, which has no file.
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            root.copy(Path::new(library), library);
        }
        root
    }

    /// Copies a file, or a folder with all that is in it, for anyone to read.
    pub(crate) fn copy(&self, from: &Path, inner: &str) {
        let to = self.path.join(inner.trim_start_matches('/'));
        if from.is_dir() {
            for entry in fs::read_dir(from).unwrap() {
                let name = entry.unwrap().file_name();
                self.copy(&from.join(&name), &format!("{inner}/{}", name.to_str().unwrap()));
            }
            return;
        }
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap_or_else(|reason| panic!("{}: {reason}", from.display()));
        let is_executable = fs::metadata(from).unwrap().permissions().mode() & 0o111 != 0;
        fs::set_permissions(&to, fs::Permissions::from_mode(if is_executable { 0o755 } else { 0o644 }))
            .unwrap();
    }

    pub(crate) fn write(&self, inner: &str, text: &str) {
        let path = self.path.join(inner.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Every path in it, with what a write would change.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.path, &mut found);
        found.sort();
        found
    }

    /// Starts `command`, whose words are those of the root, as the first process of a PID namespace, as this user and
    /// group.
    pub(crate) fn start(&self, mut command: Command, id: u32) -> Child {
        let root = self.path.clone();
        // SAFETY: between fork and exec `enter` makes system calls on values made before; the paths it passes are
        // copied to the stack. Nothing takes a lock or allocates.
        unsafe { command.pre_exec(move || enter(&root, id).map_err(io::Error::from)) };
        // The namespace is that of the next child of this thread, which must not start others after that.
        let started = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWPID).unwrap();
            command.spawn().unwrap()
        });
        started.join().unwrap()
    }
}

fn list(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, data) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        found.push(format!("{} {} {:?}", path.display(), data.len(), data.modified().unwrap()));
        if data.is_dir() {
            list(&path, found);
        }
    }
}

/// Makes `root` all there is, and the process nobody in particular, user 0 included.
fn enter(root: &Path, id: u32) -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some(root), root, NONE, MsFlags::MS_BIND, NONE)?;
    let sealed = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(NONE, root, NONE, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | sealed, NONE)?;
    chdir(root)?;
    // The former root lies on top of the new one then, and goes with all that is mounted in it.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;

    // Without a bounding set even user 0 has no capabilities behind exec.
    let mut capability = 0;
    // SAFETY: prctl(2) takes numbers only here.
    while unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
        capability += 1;
    }
    nix::sys::prctl::set_no_new_privs()?;
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}
