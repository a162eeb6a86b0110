//! Maps and helpers, bound to the host's.

use bpf_abi::errno::Errno;
use bpf_abi::helper::{
    ArgKind, ArgProto, HelperFlags, HelperProto, LOAD_PACKET, RetKind, RetProto, THROW, TypeFlags,
};
use bpf_abi::image::{BoundHelper, BoundMap};
use bpf_isa::{Call, Imm64, Insn, Pc, Reg};
use thiserror::Error;

use super::code::{Code, Gift};
use crate::env::{Env, Loaded};
use crate::log::helper_name;
use crate::program::{helper, kfunc_name};
use crate::state::MapNo;

/// Why an accepted program cannot be run by this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The host has no code for a helper.
    #[error("insn {at}: this host has no code for the helper bpf_{name}")]
    Helper {
        /// The call.
        at: Pc,
        /// The helper.
        name: String,
    },
    /// The host has no code for a kernel function.
    #[error("insn {at}: this host has no code for the kernel function {name}")]
    Kfunc {
        /// The call.
        at: Pc,
        /// The function.
        name: String,
    },
    /// The host has no kernel variables.
    #[error("insn {at}: this host has no kernel variables")]
    Variable {
        /// The instruction.
        at: Pc,
    },
    /// With what is put into it, a jump is too far. Linux: `-ERANGE` of `bpf_patch_insn_data`.
    #[error("insn {at}: the jump is too far once the program is rewritten")]
    TooFar {
        /// The jump.
        at: Pc,
    },
    /// The host cannot address a map's value.
    #[error("insn {at}: this host cannot address the value of the map {map}")]
    MapValue {
        /// The instruction.
        at: Pc,
        /// The map.
        map: String,
    },
}

impl BindError {
    /// The error number of a load that fails for it.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::TooFar { .. } => Errno::ERANGE,
            Self::Helper { .. }
            | Self::Kfunc { .. }
            | Self::Variable { .. }
            | Self::MapValue { .. } => Errno::EOPNOTSUPP,
        }
    }
}

const ANYTHING: ArgProto =
    ArgProto { kind: ArgKind::Anything, flags: TypeFlags::empty(), size: 0, btf: None };

/// The code of the legacy packet loads, which no program calls by a number.
static PACKET: HelperProto = HelperProto {
    id: LOAD_PACKET,
    name: "load_packet",
    flags: HelperFlags::empty(),
    ret: RetProto { kind: RetKind::Integer, flags: TypeFlags::empty(), btf: None },
    args: &[ANYTHING; 3],
};

/// Tail calls are the engines' own.
const TAIL_CALL: i32 = 12;

/// What an image is bound to.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) maps: Vec<BoundMap>,
    pub(super) helpers: Vec<BoundHelper>,
    /// What calls are given besides, in their order.
    pub(super) gifts: Vec<Gift>,
    /// The place of each map among the bound ones, by its place among the program's.
    places: Vec<Option<u16>>,
}

impl Bound {
    /// Binds what the code refers to, and puts the places of bound maps into it.
    pub(super) fn bind(env: &Env<'_>, code: &mut Code) -> Result<Self, BindError> {
        let mut bound = Self { places: vec![None; env.maps().len()], ..Self::default() };
        for line in &mut code.lines {
            let at = line.from;
            #[expect(clippy::wildcard_enum_match_arm, reason = "others refer to nothing")]
            match &mut line.insn {
                Insn::LoadImm64 { imm, .. } => *imm = bound.imm(env, at, *imm)?,
                Insn::Call(Call::Helper(TAIL_CALL)) => {}
                Insn::Call(Call::Helper(id)) => bound.call(env, at, *id)?,
                Insn::Call(call @ Call::Kfunc { .. }) => *call = bound.kfunc(env, at, *call)?,
                Insn::LoadAbs { .. } | Insn::LoadInd { .. } => bound.add(env, at, &PACKET)?,
                _ => {}
            }
        }
        bound.helpers.sort_by_key(|helper| helper.proto.id);
        Ok(bound)
    }

    /// Where a map is among the bound ones.
    pub(super) fn place(&self, map: MapNo) -> Option<u16> {
        self.places.get(map.index()).copied().flatten()
    }

    fn imm(&mut self, env: &Env<'_>, at: Pc, imm: Imm64) -> Result<Imm64, BindError> {
        match env.note(at).load {
            None => Ok(imm),
            Some(Loaded::Map(map)) => Ok(Imm64::MapFd(i32::from(self.map(env, map)))),
            Some(Loaded::MapValue { map, off }) => {
                let place = self.map(env, map);
                if self.maps[usize::from(place)].value.is_none() {
                    let map = env.map(map).name.clone();
                    return Err(BindError::MapValue { at, map });
                }
                Ok(Imm64::MapValue { fd: i32::from(place), off })
            }
            Some(Loaded::Variable(_)) => Err(BindError::Variable { at }),
            Some(Loaded::Func(callee)) => {
                // A function whose address is taken and never used is dead; the address is not.
                let is_alive = env.note(env.subprog(callee).start).seen;
                Ok(if is_alive { imm } else { Imm64::Value(0) })
            }
        }
    }

    fn map(&mut self, env: &Env<'_>, map: MapNo) -> u16 {
        if let Some(place) = self.place(map) {
            return place;
        }
        let place = u16::try_from(self.maps.len()).expect("a program uses at most 64 maps");
        self.maps.push(env.host.bind_map(env.map(map)));
        self.places[map.index()] = Some(place);
        place
    }

    fn call(&mut self, env: &Env<'_>, at: Pc, id: i32) -> Result<(), BindError> {
        let Some(proto) = helper(env, id) else {
            let name = helper_name(id).map_or_else(|| id.to_string(), str::to_owned);
            return Err(BindError::Helper { at, name });
        };
        if proto.flags.contains(HelperFlags::ASYNC_CALLBACK) {
            self.give_program(env, at, Reg::R3);
        }
        self.add(env, at, proto)
    }

    /// A kernel function is a helper of the host's.
    fn kfunc(&mut self, env: &Env<'_>, at: Pc, call: Call) -> Result<Call, BindError> {
        let Call::Kfunc { btf_id, btf_fd_idx } = call else { return Ok(call) };
        let name = kfunc_name(env, btf_id, btf_fd_idx).unwrap_or("?");
        if name == "bpf_throw" {
            return Ok(Call::Helper(THROW));
        }
        let missing = || BindError::Kfunc { at, name: name.to_owned() };
        let (proto, entry) = env.host.kfunc_code(name).ok_or_else(missing)?;
        let number = i32::try_from(proto.id).map_err(|_| missing())?;
        if !self.helpers.iter().any(|helper| helper.proto.id == proto.id) {
            self.helpers.push(BoundHelper { proto, entry, inline: None });
        }
        match name {
            "bpf_obj_new_impl" | "bpf_percpu_obj_new_impl" => {
                let types = env.spec.btf.as_ref().map_or(0, |btf| env.host.object_types(btf));
                self.gifts.push(Gift { call: at, reg: Reg::R2, value: types });
            }
            "bpf_wq_set_callback_impl" => self.give_program(env, at, Reg::R4),
            _ => {}
        }
        Ok(Call::Helper(number))
    }

    /// Has a call that leaves a callback behind know whose that is.
    fn give_program(&mut self, env: &Env<'_>, call: Pc, reg: Reg) {
        self.gifts.push(Gift { call, reg, value: env.host.program_number() });
    }

    fn add(&mut self, env: &Env<'_>, at: Pc, proto: &'static HelperProto) -> Result<(), BindError> {
        if self.helpers.iter().any(|helper| helper.proto.id == proto.id) {
            return Ok(());
        }
        let Some(entry) = env.host.helper_code(proto) else {
            return Err(BindError::Helper { at, name: proto.name.to_owned() });
        };
        let inline = env.host.helper_inline(proto);
        self.helpers.push(BoundHelper { proto, entry, inline });
        Ok(())
    }
}
