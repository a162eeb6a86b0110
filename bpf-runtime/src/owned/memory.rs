//! The memory of objects, and the words in them that programs cannot touch.
#![expect(unsafe_code, reason = "owns memory that programs address")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bpf_maps::SharedBytes;

use super::Shape;

/// What stands before an object, in bytes.
const HEADER: usize = 16;
/// The bits of an address; above them a node keeps how far it is from its object's beginning.
const ADDRESS_BITS: u32 = 48;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// What a node that nothing holds keeps in place of its owner.
pub(crate) fn free_node(offset: u32) -> u64 {
    u64::from(offset) << ADDRESS_BITS
}

/// Memory in which words are special: an object's, or a map value's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    start: u64,
    borrowed: PhantomData<&'a ()>,
}

/// A special word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a>(&'a AtomicU64);

impl<'a> Words<'a> {
    /// The memory at an address.
    ///
    /// # Safety
    ///
    /// `[program-object]`: it is that of an object, of a node in one, or of a field that owns some,
    /// and stays.
    pub(crate) const unsafe fn new(start: u64) -> Self {
        Self { start, borrowed: PhantomData }
    }

    /// The memory of a map's value.
    pub(crate) fn of_value(value: SharedBytes<'a>) -> Self {
        Self { start: value.addr(), borrowed: PhantomData }
    }

    /// Its address.
    pub(crate) const fn address(self) -> u64 {
        self.start
    }

    /// What lies so many bytes into it.
    pub(crate) fn at(self, offset: u32) -> Self {
        Self { start: self.start + u64::from(offset), ..self }
    }

    /// The word at this offset, one of a special field.
    pub(crate) fn word(self, offset: u32) -> Word<'a> {
        let at = std::ptr::with_exposed_provenance::<AtomicU64>(wide(self.start) + offset as usize);
        // SAFETY: [program-object] special fields are within the memory, and aligned.
        Word(unsafe { &*at })
    }

    /// The half of a word at this offset: a lock or a count.
    pub(crate) fn half(self, offset: u32) -> &'a AtomicU32 {
        let at = std::ptr::with_exposed_provenance::<AtomicU32>(wide(self.start) + offset as usize);
        // SAFETY: [program-object] the same.
        unsafe { &*at }
    }

    /// The node whose address another keeps; nothing for none.
    pub(crate) fn node(address: u64) -> Option<Self> {
        // SAFETY: [program-object] links lead to nodes of objects that their list or tree owns.
        (address != 0).then(|| unsafe { Self::new(address) })
    }
}

impl Word<'_> {
    pub(crate) fn get(self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    pub(crate) fn swap(self, value: u64) -> u64 {
        self.0.swap(value, Ordering::AcqRel)
    }

    /// Sets bits; what was there.
    pub(crate) fn set_bits(self, bits: u64) -> u64 {
        self.0.fetch_or(bits, Ordering::AcqRel)
    }

    /// Clears bits; what was there.
    pub(crate) fn clear_bits(self, bits: u64) -> u64 {
        self.0.fetch_and(!bits, Ordering::AcqRel)
    }

    /// As a node's owner: whether this list or tree is, which it may become if there is none.
    pub(crate) fn own(self, owner: u64) -> bool {
        let free = self.get() & !ADDRESS;
        let owned = free | owner;
        self.0.compare_exchange(free, owned, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// As a node's owner: which list or tree it is; 0 for none.
    pub(crate) fn owner(self) -> u64 {
        self.get() & ADDRESS
    }

    /// As a node's owner: nothing holds the node any more.
    pub(crate) fn disown(self) {
        self.set(self.get() & !ADDRESS);
    }

    /// As a node's owner: where the object begins that the node at `node` is in.
    pub(crate) fn object(self, node: u64) -> u64 {
        node - (self.get() >> ADDRESS_BITS)
    }
}

/// The memory of an object, with what stands before it.
#[derive(Debug)]
pub(crate) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: [program-object] a block that is held as a value is nobody else's.
unsafe impl Send for Block {}

impl Block {
    /// Memory for an object of this shape.
    pub(crate) fn new(shape: &Arc<Shape>, secret: u64) -> Option<Self> {
        let layout = layout(shape)?;
        // SAFETY: [program-object] the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let block = Self { start, layout };
        if block.address() > ADDRESS {
            return None;
        }
        let kept = Arc::into_raw(Arc::clone(shape)).expose_provenance() as u64;
        let header = block.header();
        header.word(0).set(kept);
        header.word(8).set(block.address() ^ secret);
        Some(block)
    }

    fn address(&self) -> u64 {
        (self.start.as_ptr().expose_provenance() + HEADER) as u64
    }

    fn header(&self) -> Words<'_> {
        // SAFETY: [program-object] the block begins with two words.
        unsafe { Words::new(self.address() - HEADER as u64) }
    }

    /// The object.
    pub(crate) fn object(&self) -> Words<'_> {
        // SAFETY: [program-object] the object lies in the block.
        unsafe { Words::new(self.address()) }
    }

    /// Leaves it to whoever owns the object: where that is.
    pub(crate) fn keep(self) -> u64 {
        ManuallyDrop::new(self).address()
    }

    /// The shape and memory of the object at an address, if there is one: what stands before it
    /// tells, which programs cannot know.
    ///
    /// Invariant: the address is within an object, by `[program-object]`.
    pub(crate) fn find<'a>(object: u64, secret: u64) -> Option<(Arc<Shape>, Words<'a>)> {
        // SAFETY: [program-object] sixteen bytes before an address within an object are in its block.
        let header = unsafe { Words::<'a>::new(object.checked_sub(HEADER as u64)?) };
        if !object.is_multiple_of(8) || header.word(8).get() != object ^ secret {
            return None;
        }
        let shape = std::ptr::with_exposed_provenance::<Shape>(wide(header.word(0).get()));
        // SAFETY: [program-object] `new` made it of an `Arc`, which the block holds.
        let shape = ManuallyDrop::new(unsafe { Arc::from_raw(shape) });
        // SAFETY: [program-object] it is an object's address.
        Some((Arc::clone(&shape), unsafe { Words::new(object) }))
    }

    /// Takes the memory of an object that nobody owns.
    pub(crate) fn take(object: u64, secret: u64) -> Option<Self> {
        let (shape, _) = Self::find(object, secret)?;
        let start = wide(object) - HEADER;
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(start))?;
        let block = Self { start, layout: layout(&shape)? };
        // From here on it is no object's address.
        let claimed = block.header().word(8).swap(0) == object ^ secret;
        if claimed {
            return Some(block);
        }
        std::mem::forget(block);
        None
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let shape = self.header().word(0).get();
        let shape = std::ptr::with_exposed_provenance::<Shape>(wide(shape));
        if !shape.is_null() {
            // SAFETY: [program-object] `new` left an `Arc` there, which is this block's.
            drop(unsafe { Arc::from_raw(shape) });
        }
        // SAFETY: [program-object] allocated in `new` with this layout, and not since freed.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

fn layout(shape: &Shape) -> Option<Layout> {
    let size = HEADER + (shape.size as usize).next_multiple_of(8).max(8);
    Layout::from_size_align(size, 16).ok()
}

/// An address, as a Rust number.
#[expect(clippy::cast_possible_truncation, reason = "hosts have 64-bit addresses")]
const fn wide(address: u64) -> usize {
    address as usize
}
