//! Machine code beside the BPF it came from.

use std::fmt::Write as _;

use bpf_abi::image::Image;
use bpf_isa::Pc;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};

use crate::jit::Compiled;
use crate::unplaced::{Part, Piece};

impl Compiled {
    /// Its machine code, function by function, each BPF instruction before the code made of it
    /// and each source line before its instructions.
    ///
    /// ```text
    /// prog:
    ///       ; return XDP_PASS;
    ///    0: r0 = 2
    ///    0:   movl $2,%eax
    /// ```
    pub fn listing(&self, image: &Image) -> String {
        let mut text = String::new();
        let bytes = self.chunk().bytes();
        for piece in self.pieces() {
            if !text.is_empty() {
                text.push('\n');
            }
            let name = self.name(piece.part.function());
            let name = if name.is_empty() { "function" } else { name };
            // Writing to a string does not fail.
            let _ = match piece.part {
                Part::Function(number) => writeln!(text, "{name}:  # function {number}"),
                Part::Callback(number) => {
                    writeln!(text, "{name}:  # function {number}, as helpers call it")
                }
            };
            let code = bytes.get(piece.start..piece.end).unwrap_or_default();
            let address = self.chunk().address() + piece.start as u64;
            Listing { image, piece, address }.write(code, &mut text);
        }
        text
    }
}

struct Listing<'a> {
    image: &'a Image,
    piece: &'a Piece,
    address: u64,
}

impl Listing<'_> {
    fn write(&self, code: &[u8], text: &mut String) {
        let mut decoder = Decoder::with_ip(64, code, self.address, DecoderOptions::NONE);
        let mut formatter = GasFormatter::new();
        let mut instruction = Instruction::default();
        let mut places = self.piece.places.iter().peekable();
        let body = self.piece.part.slot_size() as u64;
        let mut line = String::new();
        let mut before = None;
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let at = instruction.ip() - self.address;
            while let Some((_, pc)) = places.next_if(|(start, _)| u64::from(*start) + body <= at) {
                if before != Some(*pc) {
                    self.write_insn(Pc(*pc), text);
                }
                before = Some(*pc);
            }
            line.clear();
            formatter.format(&instruction, &mut line);
            let _ = writeln!(text, "{at:>5x}:   {line}");
        }
    }

    fn write_insn(&self, pc: Pc, text: &mut String) {
        if let Ok(at) = self.image.lines.binary_search_by_key(&pc, |line| line.pc) {
            let _ = writeln!(text, "         ; {}", self.image.lines[at].text.trim());
        }
        if let Some(insn) = self.image.program.get(pc) {
            let _ = writeln!(text, "{pc:>5}: {insn}");
        }
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::image::{ImageParts, SourceLine};
    use bpf_abi::prog::ProgType;
    use bpf_isa::{AluOp, Call, Insn, Operand, Program, Reg, Width};

    use super::*;
    use crate::{Jit, JitOptions};

    #[test]
    fn a_listing_has_lines_instructions_and_code() {
        let add = |imm| Insn::Alu {
            op: AluOp::Add,
            width: Width::W64,
            dst: Reg::R1,
            src: Operand::Imm(imm),
        };
        let mov = Insn::Alu {
            op: AluOp::Mov,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Reg(Reg::R1),
        };
        let line = SourceLine {
            pc: Pc(0),
            file: "prog.c".to_owned(),
            line: 3,
            text: "\treturn f(x);".to_owned(),
        };
        let parts = ImageParts {
            name: "prog".to_owned(),
            prog_type: ProgType::Xdp,
            program: Program::new(vec![
                Insn::Call(Call::Local(1)),
                Insn::Exit,
                add(7),
                mov,
                Insn::Exit,
            ]),
            subprogs: Vec::new(),
            maps: Vec::new(),
            helpers: Vec::new(),
            notes: Vec::new(),
            exception_callback: None,
            lines: vec![line],
        };
        #[expect(unsafe_code, reason = "tests vouch for their programs")]
        // SAFETY: [verified-memory] it adds, and ends.
        let image = unsafe { Image::vouch(parts) };
        let jit = Jit::new(JitOptions::default()).unwrap();
        let listing = jit.compile(&image).unwrap().listing(&image);
        for part in [
            "function:  # function 0\n    0:   nop",
            "         ; return f(x);\n    0: call pc+1",
            "   call ",
            "# function 1\n",
            "    2: r1 += 7\n",
            "   ret",
        ] {
            assert!(listing.contains(part), "no {part:?} in\n{listing}");
        }
        let clif = jit.clif(&image).unwrap();
        assert!(clif.contains("function u0:0(i64, i64) -> i64 system_v {"), "{clif}");
        assert!(clif.contains("function u0:1(i64) -> i64 tail {"), "{clif}");
    }
}
