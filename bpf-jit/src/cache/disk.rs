//! Code that is kept in a directory: a file an entry, named by its key.
//!
//! A file is written under another name and then renamed, so that who reads it finds all of it or
//! nothing. The directory is looked at once, when it is opened, and then reached through that open
//! directory alone: what later lies at its path does not matter.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::process::geteuid;

use crate::error::CacheError;
use crate::key::Key;

/// How names of entries end.
const SUFFIX: &str = ".bpfcode";

/// How names of files begin that are being written.
const UNFINISHED: &str = ".unfinished-";

/// A file that has been being written for so long will not be finished.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The largest entry that is read, in bytes: code of a million instructions is smaller.
const MAX_ENTRY: u64 = 256 << 20;

/// Who may write to a file or directory besides its owner.
const OTHERS_WRITE: u32 = 0o022;

/// An open directory of entries.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: OwnedFd,
    path: PathBuf,
    max_bytes: u64,
    /// About how many bytes are in it.
    bytes: AtomicU64,
    /// How many files were begun.
    begun: AtomicU64,
}

impl Disk {
    /// Opens a directory, or makes it.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self, CacheError> {
        let failed = |cause| CacheError::Directory { path: path.to_owned(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let dir = File::open(path).map_err(failed)?;
        let metadata = dir.metadata().map_err(failed)?;
        let untrusted = |why| Err(CacheError::Untrusted { path: path.to_owned(), why });
        if !metadata.is_dir() {
            return untrusted("it is no directory");
        }
        if metadata.uid() != geteuid().as_raw() {
            return untrusted("it belongs to another user");
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            return untrusted("others than its owner may write to it");
        }
        let disk = Self {
            dir: dir.into(),
            path: path.to_owned(),
            max_bytes,
            bytes: AtomicU64::new(0),
            begun: AtomicU64::new(0),
        };
        disk.tidy_up();
        Ok(disk)
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of an entry; `None` if there is none, or none that can be read.
    pub(crate) fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(openat(&self.dir, name(key), flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > MAX_ENTRY {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
        (&file).take(MAX_ENTRY).read_to_end(&mut bytes).ok()?;
        // It was used now. If that cannot be noted, it is only thrown away earlier.
        let _ = file.set_modified(SystemTime::now());
        Some(bytes)
    }

    /// Writes an entry; returns whether it could.
    pub(crate) fn write(&self, key: &Key, entry: &[u8]) -> bool {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{UNFINISHED}{}-{number}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.dir, &*unfinished, flags, Mode::RUSR | Mode::WUSR) else {
            return false;
        };
        let is_written = File::from(file).write_all(entry).is_ok()
            && renameat(&self.dir, &*unfinished, &self.dir, name(key)).is_ok();
        if !is_written {
            let _ = unlinkat(&self.dir, &*unfinished, AtFlags::empty());
            return false;
        }
        let size = entry.len() as u64;
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > self.max_bytes {
            self.tidy_up();
        }
        true
    }

    /// Removes an entry.
    pub(crate) fn forget(&self, key: &Key) {
        let _ = unlinkat(&self.dir, name(key), AtFlags::empty());
    }

    /// Counts what there is; if it is too much, removes what was not used for longest, until a
    /// quarter of the room is free. Files that nobody goes on writing are removed in any case.
    fn tidy_up(&self) {
        let Ok(files) = Dir::read_from(&self.dir) else { return };
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for file in files.flatten() {
            let name = file.file_name().to_owned();
            let is_entry = name.to_bytes().ends_with(SUFFIX.as_bytes());
            let is_unfinished = name.to_bytes().starts_with(UNFINISHED.as_bytes());
            if !is_entry && !is_unfinished {
                continue;
            }
            let Some((used, size)) = self.age(&name) else { continue };
            if is_unfinished {
                if now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                    let _ = unlinkat(&self.dir, &*name, AtFlags::empty());
                }
                continue;
            }
            entries.push((used, size, name));
        }
        let mut bytes: u64 = entries.iter().map(|(_, size, _)| size).sum();
        if bytes > self.max_bytes {
            entries.sort_unstable();
            for (_, size, name) in &entries {
                if bytes <= self.max_bytes / 4 * 3 {
                    break;
                }
                let _ = unlinkat(&self.dir, &**name, AtFlags::empty());
                bytes -= size;
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// When a file was last used, and its size.
    fn age(&self, name: &CStr) -> Option<(SystemTime, u64)> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

fn name(key: &Key) -> String {
    format!("{key}{SUFFIX}")
}
