//! Programs for the tests of maps that hold programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bpf_abi::Errno;
use bpf_abi::exec::{Engine, ProgArrayOwner, ProgEntry, Runnable};
use bpf_abi::id::ProgId;
use bpf_abi::image::Image;
use bpf_abi::prog::{AttachType, ProgType};

/// A program that only says what it is, and counts the slots it is in.
#[derive(Debug)]
pub(crate) struct FakeProgram {
    pub(crate) id: u32,
    pub(crate) owner: ProgArrayOwner,
    pub(crate) slots: AtomicI32,
    pub(crate) refuses: Option<Errno>,
}

impl FakeProgram {
    /// An XDP program, compiled.
    pub(crate) fn xdp(id: u32) -> Self {
        let owner = ProgArrayOwner {
            prog_type: ProgType::Xdp,
            expected_attach_type: Some(AttachType::Xdp),
            engine: Engine::Jit,
            xdp_has_frags: false,
            sleepable: false,
            attach_func: 0,
        };
        Self { id, owner, slots: AtomicI32::new(0), refuses: None }
    }
}

impl Runnable for FakeProgram {
    fn id(&self) -> ProgId {
        ProgId(self.id)
    }

    fn entry(&self) -> ProgEntry {
        match self.owner.engine {
            Engine::Jit => ProgEntry { native: u64::from(self.id) << 8, interp: 0 },
            Engine::Interp => ProgEntry { native: 0, interp: u64::from(self.id) << 8 },
        }
    }

    fn owner(&self) -> ProgArrayOwner {
        self.owner.clone()
    }

    fn image(&self) -> &Arc<Image> {
        panic!("a map asked for an image")
    }

    fn enter_prog_array(&self) -> Result<(), Errno> {
        if let Some(errno) = self.refuses {
            return Err(errno);
        }
        self.slots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn leave_prog_array(&self) {
        self.slots.fetch_sub(1, Ordering::Relaxed);
    }
}
