//! Random programs of the fuzzer, run on every engine; some of them in the kernel as well.

#![expect(
    clippy::print_stdout,
    reason = "a test that cannot go on should stop; what was not compared is said"
)]

use bpf_fuzz::agree::{Engines, Place, Tally};
use bpf_fuzz::family::{Types, Uses};
use bpf_fuzz::world::kernel_types;

/// The first seed. `cargo xtask fuzz-engines` begins from any other.
const SEED: u64 = 1;

/// How many families there are, of four programs each on average: a minute of one core.
const FAMILIES: u64 = 1700;

/// Of how many families one runs in the kernel.
const IN_THE_KERNEL: u64 = 20;

#[test]
fn engines_agree_on_random_programs() {
    let types = Types::new(kernel_types());
    let engines = Engines::new(&types).unwrap();
    assert!(engines.names().len() == 6 || !cfg!(all(target_arch = "x86_64", target_os = "linux")));
    let kernel = kernel(&types);
    let mut tally = Tally::default();
    for number in 0..FAMILIES {
        let other = kernel.as_deref().filter(|_| number.is_multiple_of(IN_THE_KERNEL));
        if let Err(difference) = tally.family(SEED + number, &types, &engines, other) {
            let seed = difference.family.seed;
            panic!("`cargo xtask fuzz-engines --show {seed}`: {:#?}", difference.found);
        }
    }
    tally.count_steps(SEED, &types, &engines).unwrap();
    println!("{tally}");

    // Programs that do nothing agree everywhere.
    assert!(tally.accepted > FAMILIES * 3 && tally.tail_calls > tally.accepted, "{tally}");
    // Without the kernel's types no program calls its functions.
    let all = if types.kernel().is_some() { Uses::all() } else { Uses::OF_ANY_KERNEL };
    for uses in all {
        assert!(tally.with(uses) > tally.accepted / 50, "{uses:?}: {tally}");
    }
    assert!(tally.kernel_programs > FAMILIES / 20 || kernel.is_none(), "{tally}");
}

/// The kernel, where it may be asked; if not, says so aloud.
fn kernel(types: &Types) -> Option<Box<Place<'static>>> {
    #[cfg(target_os = "linux")]
    {
        match bpf_fuzz::agree::Kernel::new(types) {
            Ok(kernel) => return Some(Box::new(move |family| kernel.run(family))),
            Err(why) => println!("skipped: {why}"),
        }
    }
    let _ = types;
    None
}
