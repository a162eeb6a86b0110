//! The system call `bpf(2)`.
#![expect(unsafe_code, reason = "system calls")]

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::errno::Errno;

/// The commands used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(crate) enum Command {
    /// Linux: `BPF_MAP_CREATE`.
    MapCreate = 0,
    /// Linux: `BPF_MAP_LOOKUP_ELEM`.
    MapLookup = 1,
    /// Linux: `BPF_MAP_UPDATE_ELEM`.
    MapUpdate = 2,
    /// Linux: `BPF_MAP_DELETE_ELEM`.
    MapDelete = 3,
    /// Linux: `BPF_MAP_GET_NEXT_KEY`.
    MapNextKey = 4,
    /// Linux: `BPF_PROG_LOAD`.
    ProgLoad = 5,
    /// Linux: `BPF_PROG_TEST_RUN`.
    TestRun = 10,
    /// Linux: `BPF_OBJ_GET_INFO_BY_FD`.
    Info = 15,
    /// Linux: `BPF_BTF_LOAD`.
    BtfLoad = 18,
    /// Linux: `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
    MapTake = 21,
    /// Linux: `BPF_MAP_FREEZE`.
    MapFreeze = 22,
}

/// The bytes of a `union bpf_attr`, written field by field at their offsets.
///
/// Invariant: buffers whose addresses are in it are kept by whoever fills it until the call
/// has returned.
#[derive(Clone, Debug)]
pub(crate) struct Attr {
    bytes: [u8; 256],
    len: usize,
}

impl Attr {
    /// All zero, `len` bytes long at least.
    pub(crate) const fn new(len: usize) -> Self {
        Self { bytes: [0; 256], len }
    }

    fn put(&mut self, off: usize, value: &[u8]) -> &mut Self {
        self.bytes[off..off + value.len()].copy_from_slice(value);
        self.len = self.len.max((off + value.len()).next_multiple_of(8));
        self
    }

    /// Writes four bytes.
    pub(crate) fn u32(&mut self, off: usize, value: u32) -> &mut Self {
        self.put(off, &value.to_ne_bytes())
    }

    /// Writes eight bytes.
    pub(crate) fn u64(&mut self, off: usize, value: u64) -> &mut Self {
        self.put(off, &value.to_ne_bytes())
    }

    /// Writes a descriptor.
    pub(crate) fn fd(&mut self, off: usize, file: &File) -> &mut Self {
        self.u32(off, file.as_raw_fd().cast_unsigned())
    }

    /// Writes the address of a key; of none where keys have no bytes, as the kernel wants it.
    pub(crate) fn key(&mut self, off: usize, key: &[u8]) -> &mut Self {
        if key.is_empty() { self } else { self.input(off, key) }
    }

    /// Writes the address of bytes that the kernel reads.
    pub(crate) fn input(&mut self, off: usize, bytes: &[u8]) -> &mut Self {
        self.u64(off, bytes.as_ptr().expose_provenance() as u64)
    }

    /// Writes the address of bytes that the kernel writes.
    pub(crate) fn output(&mut self, off: usize, bytes: &mut [u8]) -> &mut Self {
        self.u64(off, bytes.as_mut_ptr().expose_provenance() as u64)
    }

    /// Writes a name: what Linux allows of it, cut to fifteen bytes.
    pub(crate) fn name(&mut self, off: usize, name: &str) -> &mut Self {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let mut field = [0; 16];
        for (to, byte) in field.iter_mut().zip(name.bytes().filter(allowed).take(15)) {
            *to = byte;
        }
        self.put(off, &field)
    }

    /// Four bytes, as the kernel left them.
    pub(crate) fn get(&self, off: usize) -> u32 {
        self.bytes
            .get(off..off + 4)
            .and_then(|four| four.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }

    /// Makes the call.
    pub(crate) fn call(&mut self, command: Command) -> Result<i64, Errno> {
        // SAFETY: [bpf-attr] the attribute is `len` bytes long, and the buffers it points to
        // are borrowed by the callers of this crate until the call has returned.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command as i64, self.bytes.as_mut_ptr(), self.len)
        };
        if result < 0 {
            let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            return Err(Errno(number));
        }
        Ok(result)
    }

    /// Makes a call that answers with a descriptor.
    pub(crate) fn open(&mut self, command: Command) -> Result<File, Errno> {
        let fd = self.call(command)?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: [bpf-attr] the kernel has just opened it for us, and no one else knows it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }
}

/// Sets the position of who reads a ring buffer to that of who writes.
///
/// Linux: the first two pages of a mapping of `BPF_MAP_TYPE_RINGBUF`.
pub(crate) fn skip_records(ring: &File) -> Result<(), Errno> {
    let consumer = Pages::map(ring, libc::PROT_READ | libc::PROT_WRITE, 0, PAGE)?;
    let producer = Pages::map(ring, libc::PROT_READ, PAGE, PAGE)?;
    let written = producer.words().first().map_or(0, |word| word.load(Ordering::Acquire));
    if let Some(read) = consumer.words().first() {
        read.store(written, Ordering::Release);
    }
    Ok(())
}

/// What was written into a ring buffer of `size` bytes, from its beginning on: at most one round.
pub(crate) fn ring_bytes(ring: &File, size: usize) -> Result<Vec<u8>, Errno> {
    let pages = Pages::map(ring, libc::PROT_READ, PAGE, PAGE + size)?;
    let words = pages.words();
    let written = words.first().map_or(0, |word| word.load(Ordering::Acquire));
    let written = usize::try_from(written).unwrap_or(usize::MAX).min(size);
    let data = words.iter().skip(PAGE / 8).take(written.div_ceil(8));
    let mut bytes: Vec<u8> =
        data.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    bytes.truncate(written);
    Ok(bytes)
}

/// The size of a page, in bytes.
const PAGE: usize = 4096;

/// Pages of a map, shared with the kernel: where they begin, and how many bytes they are.
struct Pages(NonNull<AtomicU64>, usize);

impl Pages {
    fn map(file: &File, protection: i32, from: usize, len: usize) -> Result<Self, Errno> {
        let from = i64::try_from(from).map_err(|_| Errno::EINVAL)?;
        // SAFETY: [kernel-page] a new mapping, at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), from)
        };
        if start == libc::MAP_FAILED {
            let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            return Err(Errno(number));
        }
        NonNull::new(start.cast()).map(|start| Self(start, len)).ok_or(Errno::ENOMEM)
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: [kernel-page] so many bytes are mapped until this is dropped, and reached by atomic
        // accesses alone.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.1 / 8) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: [kernel-page] mapped in `map`, and nobody has its address any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), self.1) };
    }
}
