//! What can be wrong with BTF, in the kernel's words.

use thiserror::Error;

use crate::parse::ParseError;
use crate::record::RecordError;
use crate::types::TypeId;

/// BTF, refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}")]
pub struct Refusal {
    /// The last line of the kernel's log: the type and what is wrong with it.
    pub line: String,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl Refusal {
    /// The error number that `bpf(BPF_BTF_LOAD)` returns for it.
    pub fn errno(&self) -> i32 {
        self.problem.errno()
    }
}

/// What is wrong with a type or with the whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The data is larger than the kernel takes.
    #[error("")]
    TooLarge,
    /// The data ends before the length of its header.
    #[error("hdr_len not found")]
    NoHeaderLength,
    /// The data ends within its header.
    #[error("btf_header not found")]
    NoHeader,
    /// The header has a tail that is not zero.
    #[error("Unsupported btf_header")]
    UnsupportedHeader,
    /// The data is no BTF.
    #[error("Invalid magic")]
    Magic,
    /// The version is not 1.
    #[error("Unsupported version")]
    Version,
    /// A flag is set.
    #[error("Unsupported flags")]
    Flags,
    /// There is nothing behind the header.
    #[error("No data")]
    NoData,
    /// A section begins beyond the data, or there is none.
    #[error("Invalid section offset")]
    SectionOffset,
    /// Two sections share bytes.
    #[error("Section overlap found")]
    SectionOverlap,
    /// A section reaches beyond the data.
    #[error("Total section length too long")]
    SectionLength,
    /// There are bytes that belong to no section.
    #[error("Unsupported section found")]
    UnsupportedSection,
    /// Something follows the strings.
    #[error("String section is not at the end")]
    StringsNotLast,
    /// The strings are not as strings must be.
    #[error("Invalid string section")]
    Strings,
    /// The types do not begin at a multiple of four.
    #[error("Unaligned type_off")]
    TypesUnaligned,
    /// There are no types.
    #[error("No type found")]
    NoTypes,
    /// A record is cut off.
    #[error("meta_left:{left} meta_needed:{needed}")]
    CutOff {
        /// How many bytes are left.
        left: usize,
        /// How many it needs.
        needed: usize,
    },
    /// Reserved bits are set.
    #[error("Invalid btf_info:{0:x}")]
    Info(u32),
    /// The kind is not assigned.
    #[error("Invalid kind:{0}")]
    Kind(u32),
    /// A name lies outside of the strings.
    #[error("Invalid name_offset:{0}")]
    NameOffset(u32),
    /// A member's name lies outside of the strings.
    #[error("Invalid member name_offset:{0}")]
    MemberNameOffset(u32),
    /// The kernel's message is a constant sentence.
    #[error("{0}")]
    Plain(&'static str),
    /// The encoding of an integer is none that the kernel knows.
    #[error("Unsupported encoding")]
    Encoding,
    /// Reserved bits of an integer are set.
    #[error("Invalid int_data:{0:x}")]
    IntData(u32),
    /// A parameter is not as it must be.
    #[error("Invalid arg#{0}")]
    Argument(usize),
    /// A type is defined by itself.
    #[error("Loop detected")]
    Loop,
    /// Types are nested too deeply.
    #[error("Exceeded max resolving depth:32")]
    TooDeep,
    /// There are more types than the kernel takes.
    #[error("")]
    TooManyTypes,
    /// A structure has special fields that it cannot have.
    #[error("")]
    SpecialFields {
        /// The structure.
        id: TypeId,
        /// What is wrong with them.
        error: RecordError,
    },
    /// The data cannot be read after all.
    #[error("{0}")]
    Unreadable(ParseError),
}

impl Problem {
    /// The error number that `bpf(BPF_BTF_LOAD)` returns for it.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::TooLarge | Self::UnsupportedHeader | Self::TooDeep | Self::TooManyTypes => 7,
            Self::Loop => 17,
            Self::Version | Self::Flags | Self::Encoding => 524,
            Self::SpecialFields { error, .. } => error.errno(),
            Self::NoHeaderLength
            | Self::NoHeader
            | Self::Magic
            | Self::NoData
            | Self::SectionOffset
            | Self::SectionOverlap
            | Self::SectionLength
            | Self::UnsupportedSection
            | Self::StringsNotLast
            | Self::Strings
            | Self::TypesUnaligned
            | Self::NoTypes
            | Self::CutOff { .. }
            | Self::Info(_)
            | Self::Kind(_)
            | Self::NameOffset(_)
            | Self::MemberNameOffset(_)
            | Self::Plain(_)
            | Self::IntData(_)
            | Self::Argument(_)
            | Self::Unreadable(_) => 22,
        }
    }
}
