//! scratch
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use bpfkit::prelude::*;
fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let names: Vec<String> = args.collect();
    let runtime = Runtime::builder().engine(EngineChoice::Jit).build().unwrap();
    let object = runtime.open_file(&path).unwrap().load().unwrap();
    for program in object.programs() {
        if names.is_empty() || names.iter().any(|n| n == program.name()) {
            println!("=== {}\n{}", program.name(), program.listing().unwrap());
        }
    }
}
