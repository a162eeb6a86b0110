//! The program arrays, and what is in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_runtime::{Map, ProgArray, Runtime};

use crate::torture::chains::history::{Clock, History};
use crate::torture::chains::programs::Loaded;
use crate::torture::text;

/// How many entries arrays have; the last two are islands.
const SIZES: [u8; 8] = [8, 7, 8, 8, 6, 8, 5, 8];

/// Every program array.
#[derive(Debug)]
pub(super) struct Arrays {
    arrays: Vec<Array>,
}

/// A program array. All changes go through here, and are remembered.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) name: u8,
    histories: Vec<History>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The host's only handle, while there is one.
    handle: Option<ProgArray>,
    frozen: bool,
    held: Vec<Option<Arc<Loaded>>>,
}

impl Arrays {
    pub(super) fn new(runtime: &Runtime) -> Result<Self, String> {
        let array = |(name, size): (u8, u8)| {
            let histories = (0..size).map(|_| History::new()).collect();
            let held = vec![None; usize::from(size)];
            let array = Array {
                name,
                histories,
                state: Mutex::new(State { handle: None, frozen: false, held }),
            };
            array.make(runtime)?;
            Ok(array)
        };
        Ok(Self { arrays: (0..).zip(SIZES).map(array).collect::<Result<_, String>>()? })
    }

    pub(super) fn get(&self, name: u8) -> Option<&Array> {
        self.arrays.get(usize::from(name))
    }

    pub(super) fn all(&self) -> &[Array] {
        &self.arrays
    }

    /// The arrays that stay.
    pub(super) fn lasting(&self) -> &[Array] {
        &self.arrays[..SIZES.len() - 2]
    }

    /// The arrays that come and go.
    pub(super) fn islands(&self) -> &[Array] {
        &self.arrays[SIZES.len() - 2..]
    }
}

impl Array {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stays until the end.
    pub(super) fn stays(&self) -> bool {
        usize::from(self.name) < SIZES.len() - 2
    }

    /// How many slots it has.
    pub(super) fn len(&self) -> usize {
        self.histories.len()
    }

    /// What was in a slot, if it has that.
    pub(super) fn history(&self, index: u8) -> Option<&History> {
        self.histories.get(usize::from(index))
    }

    /// The map, for a program that is to use it.
    pub(super) fn map(&self) -> Option<Map> {
        self.state().handle.as_ref().map(|handle| handle.map().clone())
    }

    /// Makes the map anew.
    pub(super) fn make(&self, runtime: &Runtime) -> Result<(), String> {
        let entries = u32::try_from(self.len()).unwrap_or(0);
        let spec = MapSpec::new("chain", MapType::ProgArray, 4, 4, entries);
        let map = runtime.create_map(&spec).map_err(text)?;
        let mut state = self.state();
        state.handle = Some(map.prog_array().map_err(text)?);
        state.frozen = false;
        Ok(())
    }

    /// Puts a program into a slot; whether the array took it.
    pub(super) fn set(
        &self,
        clock: &Clock,
        index: usize,
        program: &Arc<Loaded>,
    ) -> Result<bool, String> {
        let mut state = self.state();
        let Some(handle) = &state.handle else { return Ok(false) };
        let at = u32::try_from(index).unwrap_or(u32::MAX);
        if state.frozen {
            expect(handle.set(at, &program.program), Errno::EPERM)?;
            return Ok(false);
        }
        let Some(history) = self.histories.get(index) else {
            expect(handle.set(at, &program.program), Errno::E2BIG)?;
            return Ok(false);
        };
        let set = history.record(clock, program.number, || handle.set(at, &program.program));
        set.map_err(text)?;
        state.held[index] = Some(Arc::clone(program));
        Ok(true)
    }

    /// Empties a slot; whether there was something in it.
    pub(super) fn delete(&self, clock: &Clock, index: usize) -> Result<bool, String> {
        self.delete_in(&mut self.state(), clock, index)
    }

    fn delete_in(&self, state: &mut State, clock: &Clock, index: usize) -> Result<bool, String> {
        let Some(handle) = &state.handle else { return Ok(false) };
        let at = u32::try_from(index).unwrap_or(u32::MAX);
        let error = match self.histories.get(index) {
            _ if state.frozen => Errno::EPERM,
            None => Errno::E2BIG,
            Some(_) if state.held[index].is_none() => Errno::ENOENT,
            Some(history) => {
                history.record(clock, 0, || handle.delete(at)).map_err(text)?;
                state.held[index] = None;
                return Ok(true);
            }
        };
        expect(handle.delete(at), error)?;
        Ok(false)
    }

    /// Asks for what no program array does.
    pub(super) fn refuse(&self, program: &Arc<Loaded>) -> Result<(), String> {
        let state = self.state();
        let Some(handle) = &state.handle else { return Ok(()) };
        let wanted = if state.frozen { Errno::EPERM } else { Errno::EINVAL };
        for flags in [UpdateFlags::NOEXIST, UpdateFlags::EXIST] {
            expect(handle.set_with(0, &program.program, flags), wanted)?;
        }
        Ok(())
    }

    /// Takes a program out of every slot, if the array may be changed.
    pub(super) fn remove(&self, clock: &Clock, program: &Arc<Loaded>) -> Result<(), String> {
        let mut state = self.state();
        for index in 0..self.len() {
            let is_it = |held: &Arc<Loaded>| Arc::ptr_eq(held, program);
            if state.held[index].as_ref().is_some_and(is_it) && !state.frozen {
                self.delete_in(&mut state, clock, index)?;
            }
        }
        Ok(())
    }

    /// Lets nobody change the array any more.
    pub(super) fn freeze(&self) -> Result<(), String> {
        let mut state = self.state();
        let Some(handle) = &state.handle else { return Ok(()) };
        handle.map().freeze().map_err(text)?;
        state.frozen = true;
        Ok(())
    }

    /// Drops the host's last handle, which empties the array. Then gets a handle by the array's
    /// number, if there is still a program that uses it, and sees whether it is empty.
    pub(super) fn abandon(&self, runtime: &Runtime, clock: &Clock) -> Result<(), String> {
        let mut state = self.state();
        let Some(handle) = state.handle.take() else { return Ok(()) };
        let id = handle.map().id();
        let full = || state.held.iter().zip(&self.histories).filter(|(held, _)| held.is_some());
        full().for_each(|(_, history)| history.begin(clock, 0));
        drop(handle);
        full().for_each(|(_, history)| history.end(clock));
        state.held.fill(None);
        state.frozen = false;
        if let Some(map) = runtime.map(id)
            && !map.entries().map_err(text)?.is_empty()
        {
            return Err("an array that was abandoned still holds programs".to_owned());
        }
        Ok(())
    }
}

/// An error with this number.
fn expect(result: Result<(), bpf_runtime::Error>, wanted: Errno) -> Result<(), String> {
    match result {
        Err(error) if error.errno() == wanted => Ok(()),
        other => Err(format!("{wanted} was expected, and came {other:?}")),
    }
}
