//! Sets of CPUs that programs allocate.
//!
//! They are structures of the kernel's: bits in words, then a count of owners. Only the CPUs that there
//! are count. Programs can look at the words: `and` clears the bits of the last that are of no CPU, all
//! else takes words whole, as in Linux.

use std::sync::atomic::Ordering;

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::object::{MaskAt, ObjectAt, ObjectOrNull};
use crate::helpers::args::{Cx, Int, MemIn, Size};
use crate::owned::memory::Words;

/// The CPUs of a set.
#[derive(Clone, Copy)]
struct Mask<'a> {
    words: Words<'a>,
    /// How many CPUs there are.
    cpus: u32,
}

impl<'a> Mask<'a> {
    fn of(cx: Cx<'_>, mask: MaskAt<'a>) -> Self {
        let shared = &cx.env().shared;
        let bits = shared.objects.cpumask_bits();
        Self { words: mask.words(), cpus: shared.cpus.count().min(bits) }
    }

    /// The offsets of the words that have bits of CPUs, and which bits.
    fn parts(self) -> impl Iterator<Item = (u32, u64)> {
        (0..self.cpus.div_ceil(64)).map(move |word| {
            let rest = self.cpus - 64 * word;
            (8 * word, if rest >= 64 { u64::MAX } else { (1 << rest) - 1 })
        })
    }

    fn get(self, at: u32) -> u64 {
        self.words.word(at).get()
    }

    fn set(self, at: u32, bits: u64) {
        self.words.word(at).set(bits);
    }

    /// The word and the bit of a CPU, if there is such.
    fn bit(self, cpu: u32) -> Option<(u32, u64)> {
        (cpu < self.cpus).then(|| (8 * (cpu / 64), 1 << (cpu % 64)))
    }

    fn contains(self, cpu: u32) -> bool {
        self.bit(cpu).is_some_and(|(at, bit)| self.get(at) & bit != 0)
    }

    /// The first CPU for which `is_wanted`, or as many as there are.
    fn first(self, is_wanted: impl Fn(u32) -> bool) -> u32 {
        (0..self.cpus).find(|cpu| is_wanted(*cpu)).unwrap_or(self.cpus)
    }

    /// The first that is wanted from that on which was found last.
    fn next(self, cx: Cx<'_>, is_wanted: impl Fn(u32) -> bool) -> u32 {
        let last = cx.env().shared.objects.last_cpu();
        let after = last.load(Ordering::Relaxed).saturating_add(1);
        let found = (after..self.cpus).find(|cpu| is_wanted(*cpu));
        let found = found.unwrap_or_else(|| self.first(&is_wanted));
        if found < self.cpus {
            last.store(found, Ordering::Relaxed);
        }
        found
    }

    /// Makes it what `of` makes of two others' words.
    fn combine(self, a: Self, b: Self, of: impl Fn(u64, u64, u64) -> u64) {
        for (at, bits) in self.parts() {
            self.set(at, of(a.get(at), b.get(at), bits));
        }
    }

    /// Whether `is_so` of the bits of CPUs, word by word, in this and another.
    fn every(self, other: Self, is_so: impl Fn(u64, u64) -> bool) -> bool {
        self.parts().all(|(at, bits)| is_so(self.get(at) & bits, other.get(at) & bits))
    }
}

helper! {
    /// Makes an empty set; null if there is no memory.
    0x7ffe_003b Any => fn bpf_cpumask_create(cx) -> ObjectOrNull {
        let shared = &cx.env().shared;
        let kernel = shared.kernel_types();
        ObjectOrNull(kernel.and_then(|kernel| shared.objects.allocate_cpumask(kernel)))
    }
}

helper! {
    /// One more owner of a set.
    0x7ffe_003c Any => fn bpf_cpumask_acquire(cx, mask: ObjectAt<'a>) -> ObjectOrNull {
        ObjectOrNull(cx.env().shared.objects.acquire(mask.address()))
    }
}

helper! {
    /// Lets a set go.
    0x7ffe_003d Any => fn bpf_cpumask_release(cx, mask: ObjectAt<'a>) -> () {
        cx.env().shared.objects.release(mask.address());
    }
}

helper! {
    /// The first CPU of a set; as many as there are if it is empty.
    0x7ffe_003e Any => fn bpf_cpumask_first(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        mask.first(|cpu| mask.contains(cpu))
    }
}

helper! {
    /// The first CPU that is not in a set.
    0x7ffe_003f Any => fn bpf_cpumask_first_zero(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        mask.first(|cpu| !mask.contains(cpu))
    }
}

helper! {
    /// The first CPU that is in both sets.
    0x7ffe_0040 Any => fn bpf_cpumask_first_and(cx, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        let (a, b) = (Mask::of(cx, a), Mask::of(cx, b));
        a.first(|cpu| a.contains(cpu) && b.contains(cpu))
    }
}

helper! {
    /// Puts a CPU into a set, if there is such a CPU.
    0x7ffe_0041 Any => fn bpf_cpumask_set_cpu(cx, cpu: u32, mask: MaskAt<'a>) -> () {
        put(Mask::of(cx, mask), cpu, true);
    }
}

helper! {
    /// Takes a CPU out of a set.
    0x7ffe_0042 Any => fn bpf_cpumask_clear_cpu(cx, cpu: u32, mask: MaskAt<'a>) -> () {
        put(Mask::of(cx, mask), cpu, false);
    }
}

helper! {
    /// Whether a CPU is in a set.
    0x7ffe_0043 Any => fn bpf_cpumask_test_cpu(cx, cpu: u32, mask: MaskAt<'a>) -> u32 {
        u32::from(Mask::of(cx, mask).contains(cpu))
    }
}

helper! {
    /// Puts a CPU into a set; returns whether it was there before.
    0x7ffe_0044 Any => fn bpf_cpumask_test_and_set_cpu(cx, cpu: u32, mask: MaskAt<'a>) -> u32 {
        u32::from(put(Mask::of(cx, mask), cpu, true))
    }
}

helper! {
    /// Takes a CPU out of a set; returns whether it was there before.
    0x7ffe_0045 Any => fn bpf_cpumask_test_and_clear_cpu(cx, cpu: u32, mask: MaskAt<'a>) -> u32 {
        u32::from(put(Mask::of(cx, mask), cpu, false))
    }
}

/// Puts a CPU into a set or takes it out; returns whether it was there.
fn put(mask: Mask<'_>, cpu: u32, into: bool) -> bool {
    let Some((at, bit)) = mask.bit(cpu) else { return false };
    let word = mask.words.word(at);
    let was = if into { word.set_bits(bit) } else { word.clear_bits(bit) };
    was & bit != 0
}

helper! {
    /// Puts all CPUs into a set.
    0x7ffe_0046 Any => fn bpf_cpumask_setall(cx, mask: MaskAt<'a>) -> () {
        let mask = Mask::of(cx, mask);
        mask.parts().for_each(|(at, _)| mask.set(at, u64::MAX));
    }
}

helper! {
    /// Takes all CPUs out of a set.
    0x7ffe_0047 Any => fn bpf_cpumask_clear(cx, mask: MaskAt<'a>) -> () {
        let mask = Mask::of(cx, mask);
        mask.parts().for_each(|(at, _)| mask.set(at, 0));
    }
}

helper! {
    /// Makes `dst` those that are in both sets; returns whether there are some.
    0x7ffe_0048 Any => fn bpf_cpumask_and(cx, dst: MaskAt<'a>, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        let dst = Mask::of(cx, dst);
        dst.combine(Mask::of(cx, a), Mask::of(cx, b), |a, b, bits| a & b & bits);
        u32::from(!dst.every(dst, |bits, _| bits == 0))
    }
}

helper! {
    /// Makes `dst` those that are in one of two sets or in both.
    0x7ffe_0049 Any => fn bpf_cpumask_or(cx, dst: MaskAt<'a>, a: MaskAt<'a>, b: MaskAt<'a>) -> () {
        Mask::of(cx, dst).combine(Mask::of(cx, a), Mask::of(cx, b), |a, b, _| a | b);
    }
}

helper! {
    /// Makes `dst` those that are in one of two sets and not in the other.
    0x7ffe_004a Any => fn bpf_cpumask_xor(cx, dst: MaskAt<'a>, a: MaskAt<'a>, b: MaskAt<'a>) -> () {
        Mask::of(cx, dst).combine(Mask::of(cx, a), Mask::of(cx, b), |a, b, _| a ^ b);
    }
}

helper! {
    /// Whether two sets are equal.
    0x7ffe_004b Any => fn bpf_cpumask_equal(cx, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        u32::from(Mask::of(cx, a).every(Mask::of(cx, b), |a, b| a == b))
    }
}

helper! {
    /// Whether some CPU is in both sets.
    0x7ffe_004c Any => fn bpf_cpumask_intersects(cx, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        u32::from(!Mask::of(cx, a).every(Mask::of(cx, b), |a, b| a & b == 0))
    }
}

helper! {
    /// Whether all of the first set are in the second.
    0x7ffe_004d Any => fn bpf_cpumask_subset(cx, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        u32::from(Mask::of(cx, a).every(Mask::of(cx, b), |a, b| a & !b == 0))
    }
}

helper! {
    /// Whether no CPU is in a set.
    0x7ffe_004e Any => fn bpf_cpumask_empty(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        u32::from(mask.every(mask, |bits, _| bits == 0))
    }
}

helper! {
    /// Whether all CPUs are in a set.
    0x7ffe_004f Any => fn bpf_cpumask_full(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        u32::from(mask.parts().all(|(at, bits)| mask.get(at) & bits == bits))
    }
}

helper! {
    /// Makes `dst` what `src` is.
    0x7ffe_0050 Any => fn bpf_cpumask_copy(cx, dst: MaskAt<'a>, src: MaskAt<'a>) -> () {
        let (dst, src) = (Mask::of(cx, dst), Mask::of(cx, src));
        dst.parts().for_each(|(at, _)| dst.set(at, src.get(at)));
    }
}

helper! {
    /// Some CPU of a set, another one each time if there are several.
    0x7ffe_0051 Any => fn bpf_cpumask_any_distribute(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        mask.next(cx, |cpu| mask.contains(cpu))
    }
}

helper! {
    /// Some CPU that is in both sets, another one each time if there are several.
    0x7ffe_0052 Any => fn bpf_cpumask_any_and_distribute(cx, a: MaskAt<'a>, b: MaskAt<'a>) -> u32 {
        let (a, b) = (Mask::of(cx, a), Mask::of(cx, b));
        a.next(cx, |cpu| a.contains(cpu) && b.contains(cpu))
    }
}

helper! {
    /// How many CPUs are in a set.
    0x7ffe_0053 Any => fn bpf_cpumask_weight(cx, mask: MaskAt<'a>) -> u32 {
        let mask = Mask::of(cx, mask);
        mask.parts().map(|(at, bits)| (mask.get(at) & bits).count_ones()).sum()
    }
}

helper! {
    /// Makes a set of the bits at `src`, of which there must be enough for all CPUs.
    0x7ffe_0054 Any => fn bpf_cpumask_populate(cx, mask: MaskAt<'a>, src: MemIn<'a>, _len: Size) -> Int {
        let mask = Mask::of(cx, mask);
        let bytes = src.copy();
        if bytes.len() < mask.cpus.div_ceil(64) as usize * 8 {
            return Err(Errno::EACCES);
        }
        for ((at, _), bytes) in mask.parts().zip(bytes.chunks_exact(8)) {
            mask.set(at, bytes.first_chunk().copied().map_or(0, u64::from_le_bytes));
        }
        Ok(0)
    }
}
