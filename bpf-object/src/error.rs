//! What is wrong with an object, and where.

use thiserror::Error;

/// Why an object could not be read. The message names the section, symbol or place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is no ELF file, or a damaged one.
    #[error("no ELF object: {0}")]
    Elf(String),

    /// It is an ELF file for something else.
    #[error("not a little-endian 64-bit BPF object: {0}")]
    NotBpf(String),

    /// A section's bytes are not what they should be.
    #[error("section {section:?}: {what}")]
    Section {
        /// The section.
        section: String,
        /// What is wrong with it.
        what: String,
    },

    /// A symbol points where it should not, or is missing.
    #[error("symbol {symbol:?}: {what}")]
    Symbol {
        /// The symbol.
        symbol: String,
        /// What is wrong with it.
        what: String,
    },

    /// A map's declaration makes no sense.
    #[error("map {map:?}: {what}")]
    Map {
        /// The map.
        map: String,
        /// What is wrong with it.
        what: String,
    },

    /// An instruction refers to something that it cannot refer to.
    #[error("section {section:?}, instruction {insn}: {what}")]
    Relocation {
        /// The section.
        section: String,
        /// The instruction, counted in slots from the section's beginning.
        insn: usize,
        /// What is wrong.
        what: String,
    },

    /// The types are malformed.
    #[error("section \".BTF\": {0}")]
    Btf(#[from] bpf_btf::ParseError),

    /// The debug records are malformed.
    #[error("section \".BTF.ext\": {0}")]
    BtfExt(#[from] bpf_btf::ext::ExtError),
}

impl ReadError {
    pub(crate) fn section(section: &str, what: impl Into<String>) -> Self {
        Self::Section { section: section.to_owned(), what: what.into() }
    }

    pub(crate) fn symbol(symbol: &str, what: impl Into<String>) -> Self {
        Self::Symbol { symbol: symbol.to_owned(), what: what.into() }
    }

    pub(crate) fn map(map: &str, what: impl Into<String>) -> Self {
        Self::Map { map: map.to_owned(), what: what.into() }
    }
}
