//! Links, interfaces and packets of scripts.

use bpfkit::abi::Errno;
use bpfkit::abi::prog::{AttachType, ProgType};
use bpfkit::btf::TypeId;
use serde_json::json;

use crate::parse::{ProgramRef, TargetRef};
use crate::steps::{Done, Outcome};
use crate::world::World;

impl World {
    /// `BPF_LINK_CREATE`.
    pub(crate) fn link(
        &mut self,
        link: &str,
        program: &ProgramRef,
        target: Option<&TargetRef>,
        at: Option<u32>,
    ) -> Done {
        let program = self.program(program)?;
        let (program, prog_type) = (program.clone(), program.prog_type());
        // Of extensions, the kernel does not look at it.
        let expected = program.spec().expected_attach_type.map_or(0, AttachType::number);
        if prog_type != ProgType::Ext && at.unwrap_or(0) != expected {
            return Err(Errno::EINVAL);
        }
        let target = match target {
            None => None,
            Some(target) => {
                let (target, id) = self.target(target).ok_or(Errno::EBADF)?;
                // One without the other.
                Some((target.filter(|_| id != 0).ok_or(Errno::EINVAL)?, TypeId(id)))
            }
        };
        let target = target.as_ref().map(|(program, id)| (program, *id));
        let made = program.link(target).map_err(|error| error.errno())?;
        self.links.insert(link.to_owned(), made);
        Ok(Outcome::ok())
    }

    /// `BPF_RAW_TRACEPOINT_OPEN` without a name, which attaches a program to what it was loaded for.
    pub(crate) fn raw_tracepoint(&mut self, link: &str, program: &ProgramRef) -> Done {
        let made = self.program(program)?.attach().map_err(|error| error.errno())?;
        self.links.insert(link.to_owned(), made);
        Ok(Outcome::ok())
    }

    pub(crate) fn link_info(&self, link: &str) -> Done {
        let info = self.links.get(link).ok_or(Errno::EBADF)?.info();
        let mut outcome = Outcome::of(json!({
            "type": info.link_type,
            "prog_id": info.program.0,
            "attach_type": info.attach_type,
        }));
        if let Some((program, function)) = info.target {
            outcome.words.insert("target_obj_id".to_owned(), json!(program.0));
            outcome.words.insert("target_btf_id".to_owned(), json!(function.0));
        }
        Ok(outcome)
    }

    /// Attaches a program to the one interface that there is.
    pub(crate) fn interface(&mut self, link: &str, program: &ProgramRef) -> Done {
        let program = self.program(program)?.clone();
        let hook = match &self.interface {
            Some(hook) if hook.prog_type() == program.prog_type() => hook.clone(),
            Some(_) => return Err(Errno::EBUSY),
            None => {
                let made = self.runtime.hook("lo", program.prog_type());
                made.map_err(|error| error.errno())?
            }
        };
        let made = hook.attach(&program).map_err(|error| error.errno())?;
        self.links.insert(link.to_owned(), made);
        self.interface = Some(hook);
        Ok(Outcome::ok())
    }

    /// Sends datagrams to this machine, each to two ports.
    pub(crate) fn send(&self, count: u32) -> Done {
        let failed = |error: bpfkit::Error| error.errno();
        if let Some(hook) = &self.interface {
            let mut packet = hook.packet(&datagram(9)).map_err(failed)?;
            for port in (0..count).flat_map(|_| [9, 10]) {
                packet.set(&datagram(port)).map_err(failed)?;
                hook.run(&mut packet).map_err(failed)?;
            }
        }
        Ok(Outcome::of(json!({"sent": count})))
    }
}

/// A datagram from this machine to a port of it.
fn datagram(port: u8) -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend([0x08, 0x00]);
    packet.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    // Ports, length, no checksum, four bytes.
    packet.extend([0x30, 0x39, 0, port, 0, 12, 0, 0, 1, 2, 3, 4]);
    packet
}
