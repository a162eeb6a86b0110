//! Our engines, through the runtime, as its users enter them.

use anyhow::Context as _;
use bpfkit::prelude::*;

use crate::contender::Contender;
use crate::programs::{Source, element};

/// A program in a runtime.
pub(crate) struct Ours {
    object: Object,
    pub(crate) program: Program,
    packet: Packet,
}

impl Ours {
    /// Loads the only program of an object.
    pub(crate) fn load(
        source: &Source,
        engine: EngineChoice,
        packet: &[u8],
    ) -> anyhow::Result<Self> {
        let runtime = Runtime::builder().engine(engine).build()?;
        let object = runtime.open_file(&source.path)?.load()?;
        let program = object.programs().first().context("an object of no program")?.clone();
        let packet = program.packet(packet)?;
        Ok(Self { object, program, packet })
    }
}

impl Contender for Ours {
    fn reset(&mut self) -> anyhow::Result<()> {
        for (name, map) in self.object.maps() {
            let info = map.info();
            for key in 0..info.max_entries {
                let value = element(name, info.value_size);
                map.update(&key.to_le_bytes(), &value, UpdateFlags::empty())?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<u32> {
        Ok(self.program.run(&mut self.packet)?)
    }
}
