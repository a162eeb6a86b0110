//! Opening ELF objects: where the reader of objects meets the runtime.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf_abi::spec::ObjectSpec;
use bpf_btf::Btf;
use bpf_object::{Kconfig, Options, ReadError};
use bpf_runtime::{OpenObject, Runtime};
use flate2::read::GzDecoder;
use thiserror::Error;

/// Opens ELF objects, as clang makes them, in a [`Runtime`].
pub trait OpenElf {
    /// Opens the object in a file. Nothing is made or verified yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or is not such an object.
    fn open_file(&self, path: impl AsRef<Path>) -> Result<OpenObject, OpenError>;

    /// Opens the object that these bytes are. `name` is what it is called in messages, and what the
    /// maps of its sections are named after.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are not such an object.
    fn open_bytes(&self, name: &str, bytes: &[u8]) -> Result<OpenObject, OpenError>;
}

/// Why an object could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file could not be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },

    /// It is not an object that can be read.
    #[error("{name}: {error}")]
    Object {
        /// The file, or what the bytes were called.
        name: String,
        /// What is wrong, and where.
        error: ReadError,
    },
}

impl OpenError {
    /// The error number that Linux, or libbpf, has for it.
    pub fn errno(&self) -> bpf_abi::Errno {
        match self {
            Self::File { error, .. } => {
                error.raw_os_error().map_or(bpf_abi::Errno::EIO, bpf_abi::Errno)
            }
            Self::Object { .. } => bpf_abi::Errno::EINVAL,
        }
    }
}

impl OpenElf for Runtime {
    fn open_file(&self, path: impl AsRef<Path>) -> Result<OpenObject, OpenError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|error| OpenError::File { path: path.to_owned(), error })?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        // As libbpf names objects: by the file, up to the first dot.
        let name = file.split('.').next().unwrap_or_default();
        read(self, name, &path.display().to_string(), &bytes)
    }

    fn open_bytes(&self, name: &str, bytes: &[u8]) -> Result<OpenObject, OpenError> {
        read(self, name, name, bytes)
    }
}

fn read(runtime: &Runtime, name: &str, shown: &str, bytes: &[u8]) -> Result<OpenObject, OpenError> {
    let config = || runtime.is_for_running_kernel().then(running_config).flatten();
    let spec = object_of(bytes, name, || runtime.kernel_btf().cloned(), config);
    let spec = spec.map_err(|error| OpenError::Object { name: shown.to_owned(), error })?;
    Ok(runtime.open(spec))
}

/// What the running kernel's configuration says, where it tells.
///
/// Read from `/proc/config.gz`, or from `/boot/config-RELEASE`.
pub fn running_config() -> Option<Kconfig> {
    let mut text = String::new();
    if let Ok(file) = File::open("/proc/config.gz") {
        GzDecoder::new(file).read_to_string(&mut text).ok()?;
    } else {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let path = format!("/boot/config-{}", release.trim());
        text = std::fs::read_to_string(path).ok()?;
    }
    Some(Kconfig::parse(&text))
}

/// Reads an object; the kernel's types are asked for only if it has CO-RE relocations, its
/// configuration only if it has variables for that.
///
/// # Errors
///
/// Returns an error that names the place if the object is malformed, or asks for what the kernel
/// has not.
pub fn object_of(
    bytes: &[u8],
    name: &str,
    kernel: impl FnOnce() -> Option<Arc<Btf>>,
    config: impl FnOnce() -> Option<Kconfig>,
) -> Result<ObjectSpec, ReadError> {
    let mut options = Options::default();
    if bpf_object::needs_target(bytes)? {
        options.target = kernel();
    }
    if bpf_object::needs_config(bytes)? {
        options.kconfig = config().unwrap_or_default();
    }
    bpf_object::read_with(bytes, name, &options)
}

/// The types in an ELF object, or in a file that holds nothing else, such as
/// `/sys/kernel/btf/vmlinux`.
///
/// # Errors
///
/// Returns an error if there are none, or they are malformed.
pub fn btf_of(bytes: &[u8]) -> Result<Btf, ReadError> {
    if bytes.starts_with(b"\x7fELF") {
        return bpf_object::read_btf(bytes);
    }
    Ok(Btf::parse(bytes)?)
}
