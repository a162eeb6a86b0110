//! Our engines, through the runtime, as its users enter them.

use anyhow::Context as _;
use bpf_abi::map::MapType;
use bpfkit::prelude::*;

use crate::contender::Contender;
use crate::inputs::{self, Shape};
use crate::programs::Source;

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
            if map.map_type() == MapType::Hash {
                for (key, _) in map.entries()? {
                    map.delete(&key)?;
                }
            }
            let info = map.info();
            let shape = Shape {
                name,
                map_type: map.map_type(),
                value_size: info.value_size,
                max_entries: info.max_entries,
            };
            for (key, value) in inputs::entries(shape) {
                map.update(&key, &value, UpdateFlags::empty())?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<u32> {
        Ok(self.program.run(&mut self.packet)?)
    }
}
