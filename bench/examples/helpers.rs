//! scratch
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use bpfkit::prelude::*;
fn main() {
    let runtime = Runtime::builder().engine(EngineChoice::Jit).build().unwrap();
    for id in [42, 8, 7, 5, 125, 160] {
        let mut slots = Vec::new();
        let mut put = |code: u8, dst: u8, src: u8, off: i16, imm: i32| {
            slots.push(bpf_isa::Slot { code, dst, src, off, imm });
        };
        put(0xb7, 6, 0, 0, 1000);
        put(0xb7, 7, 0, 0, 0);
        put(0x85, 0, 0, 0, id);
        put(0x0f, 7, 0, 0, 0);
        put(0x07, 6, 0, 0, -1);
        put(0x55, 6, 0, -4, 0);
        put(0xb7, 0, 0, 0, 2);
        put(0x95, 0, 0, 0, 0);
        let spec = bpf_abi::spec::ProgramSpec::new("p", bpf_abi::prog::ProgType::Xdp, slots);
        let object = bpf_abi::spec::ObjectSpec {
            name: "o".into(),
            license: "GPL".into(),
            programs: vec![spec],
            ..Default::default()
        };
        let object = runtime.open(object).load().unwrap();
        let program = object.program("p").unwrap();
        let mut packet = program.packet(&[0; 64]).unwrap();
        let mut best = f64::MAX;
        for _ in 0..50 {
            let start = std::time::Instant::now();
            for _ in 0..20 {
                program.run(&mut packet).unwrap();
            }
            best = best.min(start.elapsed().as_nanos() as f64 / 20_000.0);
        }
        println!("helper {id}: {best:.2} ns");
    }
}
