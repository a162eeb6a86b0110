//! Programs for the tests of maps that hold programs.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bpf_abi::Errno;
use bpf_abi::exec::{Engine, EntryHolder, ProgArrayOwner, ProgEntry, Runnable};
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
    pub(crate) compiled: Mutex<bool>,
    arrays: Mutex<Vec<Weak<dyn EntryHolder>>>,
}

impl FakeProgram {
    /// An XDP program, compiled.
    pub(crate) fn xdp(id: u32) -> Self {
        let owner = ProgArrayOwner {
            prog_type: ProgType::Xdp,
            expected_attach_type: Some(AttachType::Xdp),
            engine: Engine::Jit,
            xdp_has_frags: false,
            attach_func: 0,
        };
        let (compiled, arrays) = (Mutex::new(true), Mutex::default());
        Self { id, owner, slots: AtomicI32::new(0), refuses: None, compiled, arrays }
    }

    /// Is compiled from now on, and says so.
    pub(crate) fn compile(&self) {
        *self.compiled.lock().unwrap() = true;
        for array in self.arrays.lock().unwrap().iter().filter_map(Weak::upgrade) {
            array.refresh();
        }
    }
}

impl Runnable for FakeProgram {
    fn id(&self) -> ProgId {
        ProgId(self.id)
    }

    fn entry(&self) -> ProgEntry {
        let number = u64::from(self.id) << 8;
        match self.owner.engine {
            Engine::Jit if *self.compiled.lock().unwrap() => {
                ProgEntry { native: number, interp: 0 }
            }
            Engine::Jit => ProgEntry { native: number + 1, interp: number + 2 },
            Engine::Interp => ProgEntry { native: 0, interp: number },
        }
    }

    fn owner(&self) -> ProgArrayOwner {
        self.owner.clone()
    }

    fn image(&self) -> &Arc<Image> {
        panic!("a map asked for an image")
    }

    fn enter_prog_array(&self, array: &Arc<dyn EntryHolder>) -> Result<(), Errno> {
        if let Some(errno) = self.refuses {
            return Err(errno);
        }
        self.arrays.lock().unwrap().push(Arc::downgrade(array));
        self.slots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn leave_prog_array(&self) {
        self.slots.fetch_sub(1, Ordering::Relaxed);
    }
}
