//! Program arrays: what tail calls jump through.
//!
//! ```text
//!   native   +---------+---------+---------+     compiled code loads the entry and jumps
//!            | entry   | 0       | entry   |
//!            +---------+---------+---------+
//!   interp   +---------+---------+---------+     the interpreter loads what it made of it; if that
//!            | program | 0       | 0       |     is nothing, it leaves by the entry
//!            +---------+---------+---------+
//!   programs | Arc     | None    | Arc     |     who keeps them alive, behind a lock
//! ```
//!
//! Words are exchanged while programs run: a tail call finds the old program, the next one, or
//! none. A program taken out is kept until every program that runs now has ended.
//!
//! A program that is interpreted until its code is there has both words. When it is compiled, its
//! slots are [refreshed](EntryHolder::refresh), and chains that come by later go on in its code.
//!
//! A program array is in no map of maps: what its programs have in common is known of the array, and
//! not to the verifier of a program that finds it in another map. Linux makes no such map either.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use bpf_abi::Errno;
use bpf_abi::exec::{EntryHolder, ProgArrayOwner, ProgEntry, Runnable};
use bpf_abi::map::{MapLayout, UpdateFlags};

use crate::bytes::Memory;
use crate::cpu::{CpuId, Cpus};
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;
use crate::world::World;

/// Programs at indices, for tail calls. Linux: `prog_array_map_ops`.
#[derive(Debug)]
pub struct ProgArray {
    core: MapCore,
    slots: Arc<Slots>,
    owner: OnceLock<ProgArrayOwner>,
    cpus: Cpus,
}

/// What programs in the array know of it.
#[derive(Debug)]
struct Slots {
    world: u64,
    native: Memory,
    interp: Memory,
    programs: Mutex<Vec<Option<Arc<dyn Runnable>>>>,
}

impl Slots {
    /// What a slot says is this program, or none.
    ///
    /// Native first: a tail call in the interpreter that finds nothing in `interp` finds there a
    /// program that is, or was just now, in the slot.
    fn store(&self, slot: usize, program: Option<&Arc<dyn Runnable>>) {
        let entry = program.map_or(ProgEntry::default(), |program| program.entry());
        self.native[slot].store(entry.native, Ordering::Release);
        self.interp[slot].store(entry.interp, Ordering::Release);
    }
}

impl EntryHolder for Slots {
    fn world(&self) -> u64 {
        self.world
    }

    fn refresh(&self) {
        let programs = hold(&self.programs);
        for (slot, program) in programs.iter().enumerate() {
            if program.is_some() {
                self.store(slot, program.as_ref());
            }
        }
    }
}

impl ProgArray {
    /// Empty slots, which belong to nobody yet.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let slots = u64::from(shape.max_entries);
        let (native, interp) = (Memory::new(slots, 64)?, Memory::new(slots, 64)?);
        let cpus = world.cpus().clone();
        let programs = Mutex::new(Vec::new());
        let slots = Arc::new(Slots { world: cpus.world(), native, interp, programs });
        Ok(Self { core: MapCore::new(shape), slots, owner: OnceLock::new(), cpus })
    }

    /// What its programs have in common, once there was one.
    pub fn owner(&self) -> Option<&ProgArrayOwner> {
        self.owner.get()
    }

    /// Says that a program with this in it uses the array, or is to be put into it. The first
    /// one settles what the others must be like, for the array's life.
    ///
    /// Linux: `bpf_prog_map_compatible`.
    ///
    /// # Errors
    ///
    /// Returns an error if an earlier one was of another kind.
    pub fn bind(&self, owner: &ProgArrayOwner) -> Result<(), MapError> {
        let mine = self.owner.get_or_init(|| owner.clone());
        let differs = if mine.prog_type != owner.prog_type {
            "type"
        } else if mine.expected_attach_type != owner.expected_attach_type {
            "expected attach type"
        } else if mine.engine != owner.engine {
            "engine"
        } else if mine.xdp_has_frags != owner.xdp_has_frags {
            "way with XDP fragments"
        } else if mine.attach_func != owner.attach_func {
            "function to attach to"
        } else {
            return Ok(());
        };
        Err(MapError::OtherOwner(differs))
    }

    /// Host: puts a program into a slot. Running programs see it at once.
    ///
    /// # Errors
    ///
    /// Returns an error if the host may not write to the array, if there is no such slot, or
    /// if the program is of another kind or may not be in a program array now.
    pub fn set(
        &self,
        index: u32,
        program: Arc<dyn Runnable>,
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        (self as &dyn Map).host().check_writable()?;
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.check_index(index)?;
        let refused = |errno| MapError::ProgramRefused { id: program.id(), errno };
        if program.is_extension() {
            return Err(refused(Errno::EINVAL));
        }
        self.bind(&program.owner())?;
        let slots: Arc<dyn EntryHolder> = Arc::<Slots>::clone(&self.slots);
        program.enter_prog_array(&slots).map_err(refused)?;
        self.exchange(index, Some(program));
        Ok(())
    }

    /// The program in a slot.
    pub fn get(&self, index: u32) -> Option<Arc<dyn Runnable>> {
        hold(&self.slots.programs).get(index as usize)?.clone()
    }

    /// Empties every slot.
    pub fn clear(&self) {
        let filled = hold(&self.slots.programs).len();
        for index in (0..self.shape().max_entries).take(filled) {
            self.exchange(index, None);
        }
    }

    fn check_index(&self, index: u32) -> Result<(), MapError> {
        let max_entries = self.shape().max_entries;
        if index < max_entries {
            return Ok(());
        }
        Err(MapError::OutOfRange { index, max_entries })
    }

    /// Puts a program, or none, into a slot that there is; whether there was one.
    fn exchange(&self, index: u32, program: Option<Arc<dyn Runnable>>) -> bool {
        let slot = index as usize;
        let old = {
            let mut programs = hold(&self.slots.programs);
            if programs.len() <= slot {
                programs.resize(slot + 1, None);
            }
            // Asked for its entry under the lock: if it changes, the slots are refreshed later.
            self.slots.store(slot, program.as_ref());
            std::mem::replace(&mut programs[slot], program)
        };
        let Some(old) = old else { return false };
        old.leave_prog_array();
        self.cpus.defer(move || drop(old));
        true
    }
}

impl Map for ProgArray {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn layout(&self) -> MapLayout {
        MapLayout::ProgArray {
            native: self.slots.native.addr(),
            interp: self.slots.interp.addr(),
            max_entries: self.shape().max_entries,
        }
    }

    fn write(&self, key: &[u8], _: &[u8], flags: UpdateFlags) -> Result<(), MapError> {
        if !flags.is_empty() {
            return Err(MapError::OperationFlags(flags));
        }
        self.shape().index_within(key)?;
        Err(self.shape().cannot("take bytes: a slot is set to a program", Errno::EBADF))
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated by programs", Errno::EINVAL))
    }

    fn delete(&self, _: &[u8]) -> Result<(), MapError> {
        Err(self.shape().cannot("be changed by programs", Errno::EINVAL))
    }

    fn erase(&self, key: &[u8]) -> Result<(), MapError> {
        let index = self.shape().index_within(key)?;
        if self.exchange(index, None) { Ok(()) } else { Err(MapError::NotFound) }
    }

    /// The number of the program in the slot.
    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        let program = self.get(self.shape().index(key)?).ok_or(MapError::NotFound)?;
        out.copy_from_slice(&program.id().0.to_le_bytes());
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        self.shape().next_index(key, next)
    }

    fn host_gone(&self) {
        self.clear();
    }
}

impl Drop for ProgArray {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::exec::Engine;
    use bpf_abi::map::{MapSpec, MapType};
    use bpf_abi::prog::{AttachType, ProgType};

    use super::*;
    use crate::create;
    use crate::map::HostHandle;
    use crate::types::fake::FakeProgram;

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn array(slots: u32) -> (World, Arc<dyn Map>) {
        let world = World::with_cpus(2);
        let spec = MapSpec::new("jmp", MapType::ProgArray, 4, 4, slots);
        let map = create(&spec, &world).unwrap();
        (world, map)
    }

    fn of(map: &Arc<dyn Map>) -> &ProgArray {
        map.as_prog_array().unwrap()
    }

    fn words(array: &ProgArray) -> Vec<(u64, u64)> {
        let words = array.slots.native.iter().zip(array.slots.interp.iter());
        words.map(|(n, i)| (n.load(Ordering::Relaxed), i.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn slots_hold_entries_and_the_host_reads_numbers() {
        let (_, map) = array(3);
        of(&map).set(1, Arc::new(FakeProgram::xdp(7)), NONE).unwrap();
        assert_eq!(words(of(&map)), [(0, 0), (0x700, 0), (0, 0)]);
        assert_eq!(map.host().lookup(&[1, 0, 0, 0], NONE).unwrap(), [7, 0, 0, 0]);
        assert_eq!(map.host().lookup(&[0; 4], NONE), Err(MapError::NotFound));
        assert_eq!(map.host().lookup(&[9; 4], NONE), Err(MapError::NotFound));
        map.host().delete(&[1, 0, 0, 0]).unwrap();
        assert_eq!(words(of(&map)), [(0, 0); 3]);
        assert_eq!(map.host().delete(&[1, 0, 0, 0]), Err(MapError::NotFound));
        assert_eq!(map.host().delete(&[3, 0, 0, 0]).unwrap_err().errno(), Errno::E2BIG);
    }

    #[test]
    fn a_program_that_is_compiled_later_is_entered_anew() {
        let (_, map) = array(3);
        let program = Arc::new(FakeProgram::xdp(7));
        *program.compiled.lock().unwrap() = false;
        for index in [0, 2] {
            of(&map).set(index, Arc::clone(&program) as Arc<dyn Runnable>, NONE).unwrap();
        }
        assert_eq!(words(of(&map)), [(0x701, 0x702), (0, 0), (0x701, 0x702)]);
        of(&map).set(2, Arc::new(FakeProgram::xdp(8)), NONE).unwrap();
        program.compile();
        assert_eq!(words(of(&map)), [(0x700, 0), (0, 0), (0x800, 0)]);
        drop(map);
        program.compile();
    }

    #[test]
    fn the_first_program_settles_what_the_others_must_be() {
        let (_, map) = array(2);
        let set = |program: FakeProgram| of(&map).set(0, Arc::new(program), NONE);
        set(FakeProgram::xdp(1)).unwrap();
        map.host().delete(&[0; 4]).unwrap();
        let mut other = FakeProgram::xdp(2);
        other.owner.prog_type = ProgType::SchedCls;
        assert_eq!(set(other), Err(MapError::OtherOwner("type")));
        let mut other = FakeProgram::xdp(2);
        other.owner.expected_attach_type = Some(AttachType::XdpDevmap);
        assert_eq!(set(other), Err(MapError::OtherOwner("expected attach type")));
        let mut other = FakeProgram::xdp(2);
        other.owner.engine = Engine::Interp;
        assert_eq!(set(other), Err(MapError::OtherOwner("engine")));
        let mut other = FakeProgram::xdp(2);
        other.owner.xdp_has_frags = true;
        assert_eq!(set(other).unwrap_err().errno(), Errno::EINVAL);
        set(FakeProgram::xdp(3)).unwrap();
    }

    #[test]
    fn a_user_settles_it_as_well() {
        let (_, map) = array(1);
        let mut user = FakeProgram::xdp(1).owner;
        user.engine = Engine::Interp;
        of(&map).bind(&user).unwrap();
        let error = of(&map).set(0, Arc::new(FakeProgram::xdp(2)), NONE).unwrap_err();
        assert_eq!(error, MapError::OtherOwner("engine"));
    }

    #[test]
    fn a_program_counts_its_slots_and_may_refuse() {
        let (_, map) = array(2);
        let program = Arc::new(FakeProgram::xdp(1));
        for index in [0, 1, 1] {
            of(&map).set(index, Arc::clone(&program) as Arc<dyn Runnable>, NONE).unwrap();
        }
        assert_eq!(program.slots.load(Ordering::Relaxed), 2);
        let mut busy = FakeProgram::xdp(2);
        busy.refuses = Some(Errno::EBUSY);
        assert_eq!(of(&map).set(0, Arc::new(busy), NONE).unwrap_err().errno(), Errno::EBUSY);
        drop(map);
        assert_eq!(program.slots.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&program), 1);
    }

    #[test]
    fn the_last_handle_of_the_host_empties_the_array() {
        let (_, map) = array(1);
        let first = HostHandle::new(Arc::clone(&map));
        let second = first.clone();
        of(&map).set(0, Arc::new(FakeProgram::xdp(1)), NONE).unwrap();
        drop(first);
        assert!(of(&map).get(0).is_some());
        drop(second);
        assert!(of(&map).get(0).is_none());
        let _again = HostHandle::new(Arc::clone(&map));
        of(&map).set(0, Arc::new(FakeProgram::xdp(2)), NONE).unwrap();
    }

    #[test]
    fn a_program_taken_out_lives_until_running_ones_have_ended() {
        let (world, map) = array(1);
        let program = Arc::new(FakeProgram::xdp(1));
        of(&map).set(0, Arc::clone(&program) as Arc<dyn Runnable>, NONE).unwrap();
        let here = world.cpus().enter();
        of(&map).clear();
        assert_eq!(program.slots.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&program), 2);
        drop(here);
        assert_eq!(Arc::strong_count(&program), 1);
    }

    #[test]
    fn a_frozen_array_and_flags_refuse() {
        let (_, map) = array(1);
        let program = || Arc::new(FakeProgram::xdp(1));
        for flags in [UpdateFlags::NOEXIST, UpdateFlags::EXIST, UpdateFlags::LOCK] {
            let error = of(&map).set(0, program(), flags).unwrap_err();
            assert_eq!(error.errno(), Errno::EINVAL);
        }
        let error = of(&map).set(1, program(), NONE).unwrap_err();
        assert_eq!(error.errno(), Errno::E2BIG);
        map.host().freeze().unwrap();
        assert_eq!(of(&map).set(0, program(), NONE), Err(MapError::Frozen));
    }
}
