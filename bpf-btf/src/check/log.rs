//! The record of a check, in the kernel's words.

use core::fmt::Write as _;

use super::meta::{Entry, Records};
use super::problem::{Problem, Refusal};
use crate::raw::KindCode;

/// Collects lines, or drops them unread.
pub(super) struct Log {
    text: String,
    is_telling: bool,
}

impl Log {
    pub(super) const fn silent() -> Self {
        Self { text: String::new(), is_telling: false }
    }

    pub(super) const fn telling() -> Self {
        Self { text: String::new(), is_telling: true }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) const fn is_telling(&self) -> bool {
        self.is_telling
    }

    pub(super) fn line(&mut self, line: &str) {
        if self.is_telling {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// Refuses the whole, or a record that cannot be told of. The kernel does not end such a line.
    pub(super) fn refuse_plain(&mut self, place: &str, problem: Problem) -> Refusal {
        let line = format!("{place}{problem}");
        if self.is_telling {
            self.text.push_str(&line);
        }
        Refusal { line, problem: Box::new(problem) }
    }

    /// Refuses the whole.
    pub(super) fn refuse(&mut self, problem: Problem) -> Refusal {
        self.refuse_plain("", problem)
    }

    /// Refuses with a line of its own making, followed by the problem.
    fn refuse_at(&mut self, place: &str, problem: Problem) -> Refusal {
        let line = format!("{place}{problem}");
        self.line(&line);
        Refusal { line, problem: Box::new(problem) }
    }
}

/// `[7] PTR (anon) `: the beginning of every line about a type.
fn title(records: &Records<'_>, entry: &Entry<'_>) -> String {
    let name = records.log_name(entry.record.name);
    format!("[{}] {} {name} ", entry.id, entry.code.name())
}

impl Log {
    /// Tells of a type with its details, as the kernel does of each that it takes.
    pub(super) fn ty(&mut self, records: &Records<'_>, entry: &Entry<'_>) {
        if self.is_telling {
            let line = format!("{}{}", title(records, entry), details(records, entry));
            self.line(&line);
        }
    }

    /// Refuses a type, telling its details.
    pub(super) fn refuse_type(
        &mut self,
        records: &Records<'_>,
        entry: &Entry<'_>,
        problem: Problem,
    ) -> Refusal {
        let place = format!("{}{} ", title(records, entry), details(records, entry));
        self.refuse_at(&place, problem)
    }

    /// Refuses a type whose details cannot be told.
    pub(super) fn refuse_basic(
        &mut self,
        records: &Records<'_>,
        entry: &Entry<'_>,
        problem: Problem,
    ) -> Refusal {
        // Without details, only one blank parts the name from what follows.
        self.refuse_at(&title(records, entry), problem)
    }

    /// Refuses a member; `is_again` tells which structure it belongs to.
    pub(super) fn refuse_member(
        &mut self,
        records: &Records<'_>,
        entry: &Entry<'_>,
        line: [u32; 3],
        is_again: bool,
        problem: Problem,
    ) -> Refusal {
        if is_again {
            self.ty(records, entry);
        }
        let place = format!("{} ", member_line(records, entry, line));
        self.refuse_at(&place, problem)
    }

    /// Refuses a variable of a section; `is_again` tells which section it belongs to.
    pub(super) fn refuse_var(
        &mut self,
        records: &Records<'_>,
        entry: &Entry<'_>,
        index: usize,
        is_again: bool,
        problem: Problem,
    ) -> Refusal {
        if is_again {
            self.ty(records, entry);
        }
        let place = format!("{} ", var_line(entry, index));
        self.refuse_at(&place, problem)
    }
}

/// A member, given as the three words of its record.
pub(super) fn member_line(records: &Records<'_>, entry: &Entry<'_>, line: [u32; 3]) -> String {
    let [name, ty, offset] = line;
    let name = records.log_name(name);
    if entry.record.kind_flag() {
        let (bits, offset) = (offset >> 24, offset & 0x00ff_ffff);
        format!("\t{name} type_id={ty} bitfield_size={bits} bits_offset={offset}")
    } else {
        format!("\t{name} type_id={ty} bits_offset={offset}")
    }
}

pub(super) fn var_line(entry: &Entry<'_>, index: usize) -> String {
    let [ty, offset, size] = entry.triple(index);
    format!("\t type_id={ty} offset={offset} size={size}")
}

/// What a line says of a type after its name.
fn details(records: &Records<'_>, entry: &Entry<'_>) -> String {
    let word = |at| entry.word(at);
    let size_or_type = entry.record.size_or_type;
    match entry.code {
        KindCode::Void => String::new(),
        KindCode::Int => {
            let [bits, _, offset, encoding] = word(0).to_le_bytes();
            let encoding = match encoding & 0xf {
                0 => "(none)",
                1 => "SIGNED",
                2 => "CHAR",
                4 => "BOOL",
                _ => "UNKN",
            };
            format!("size={size_or_type} bits_offset={offset} nr_bits={bits} encoding={encoding}")
        }
        KindCode::Ptr
        | KindCode::Typedef
        | KindCode::Volatile
        | KindCode::Const
        | KindCode::Restrict
        | KindCode::TypeTag
        | KindCode::Func => format!("type_id={size_or_type}"),
        KindCode::Array => {
            format!("type_id={} index_type_id={} nr_elems={}", word(0), word(4), word(8))
        }
        KindCode::Struct
        | KindCode::Union
        | KindCode::Enum
        | KindCode::Enum64
        | KindCode::Datasec => format!("size={size_or_type} vlen={}", entry.record.vlen()),
        KindCode::Fwd => if entry.record.kind_flag() { "union" } else { "struct" }.to_owned(),
        KindCode::FuncProto => signature(records, entry),
        KindCode::Var => format!("type_id={size_or_type} linkage={}", word(0)),
        KindCode::Float => format!("size={size_or_type}"),
        KindCode::DeclTag => {
            format!("type={size_or_type} component_idx={}", word(0).cast_signed())
        }
    }
}

fn signature(records: &Records<'_>, entry: &Entry<'_>) -> String {
    let mut text = format!("return={} args=(", entry.record.size_or_type);
    let count = entry.record.vlen();
    for index in 0..count {
        let (name, ty) = (entry.word(8 * index), entry.word(8 * index + 4));
        if index > 0 {
            text.push_str(", ");
        }
        if ty == 0 && index + 1 == count {
            text.push_str("vararg");
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "{ty} {}", records.log_name(name));
        }
    }
    if count == 0 {
        text.push_str("void");
    }
    text.push(')');
    text
}
