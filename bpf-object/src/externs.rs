//! What an object takes from outside: kernel functions and symbols, and the kernel's configuration.
//!
//! An extern is an undefined symbol whose type says in which section of the types it stands: `.ksyms` for functions
//! and variables of the kernel, `.kconfig` for its configuration. The kernel accepts no externs among types, so a
//! loader turns them into variables with made-up places; those of `.kconfig` are the places in a map that the loader
//! fills.

use std::collections::{BTreeMap, HashMap};

use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};
use bpf_btf::{Btf, FuncLinkage, Kind, KindCode, SectionVar, TypeId, VarLinkage};

use crate::elf::{Elf, Symbol};
use crate::error::ReadError;

/// What the kernel's configuration says, for objects that ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kconfig {
    /// `LINUX_KERNEL_VERSION`: major, minor and patch level in a byte each, highest first.
    pub kernel_version: u32,
    /// Values as a `.config` file has them, by name: `y`, `n`, `m`, a number, or a string in double quotes.
    pub values: BTreeMap<String, String>,
}

impl Default for Kconfig {
    /// Linux 6.18 with nothing configured.
    fn default() -> Self {
        Self { kernel_version: 6 << 16 | 18 << 8, values: BTreeMap::new() }
    }
}

impl Kconfig {
    /// What a `.config` file says: lines of `CONFIG_NAME=value`. Other lines mean nothing.
    pub fn parse(text: &str) -> Self {
        let setting = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
        };
        Self { values: text.lines().filter_map(setting).collect(), ..Self::default() }
    }
}

/// Something that an object takes from outside.
#[derive(Clone, Debug)]
pub(crate) enum Extern {
    /// A function of the kernel.
    Kfunc,
    /// A variable of the kernel; typed if its type says more than that it has an address.
    Ksym { is_typed: bool },
    /// A place in the map of the kernel's configuration.
    Kconfig { offset: u32 },
}

/// All that an object takes from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Externs {
    by_name: HashMap<String, Extern>,
    /// Their names, in libbpf's order: settings before symbols, symbols by their names.
    in_order: Vec<String>,
    /// The map of the kernel's configuration.
    pub(crate) kconfig: Option<MapSpec>,
}

impl Externs {
    pub(crate) fn get(&self, name: &str) -> Option<&Extern> {
        self.by_name.get(name)
    }

    /// The place of one among all, in libbpf's order.
    pub(crate) fn place(&self, name: &str) -> i32 {
        let place = self.in_order.iter().position(|other| other == name);
        place.and_then(|place| i32::try_from(place).ok()).unwrap_or(0)
    }
}

/// Finds the externs of an object, and corrects their types as libbpf does.
pub(crate) fn externs(
    elf: &Elf<'_>,
    btf: &mut Btf,
    kconfig: &Kconfig,
) -> Result<Externs, ReadError> {
    let mut externs = Externs::default();
    let undefined: HashMap<&str, &Symbol<'_>> = elf
        .symbols
        .iter()
        .filter(|symbol| symbol.is_undefined && !symbol.is_local && !symbol.name.is_empty())
        .map(|symbol| (symbol.name, symbol))
        .collect();
    kernel_symbols(btf, &undefined, &mut externs);
    let mut symbols: Vec<String> = externs.by_name.keys().cloned().collect();
    symbols.retain(|name| undefined.contains_key(name.as_str()));
    symbols.sort_unstable();
    configuration(btf, &undefined, kconfig, &mut externs)?;
    externs.in_order.append(&mut symbols);
    Ok(externs)
}

/// The variables (and, among kernel symbols, functions) of a section of the types.
fn members(btf: &Btf, section: &str) -> Option<(TypeId, Vec<SectionVar>)> {
    let id = btf.by_name_kind(section, KindCode::Datasec)?;
    Some((id, btf.get(id)?.datasec()?.vars().collect()))
}

/// The first integer of 32 bits, which stands in for the types of externs.
fn some_int(btf: &Btf) -> TypeId {
    let is_plain = |int: bpf_btf::Int| int.bits == 32;
    btf.own_types().find(|ty| ty.int().is_some_and(is_plain)).map_or(TypeId::VOID, |ty| ty.id)
}

fn kernel_symbols(btf: &mut Btf, undefined: &HashMap<&str, &Symbol<'_>>, externs: &mut Externs) {
    let Some((section, mut vars)) = members(btf, ".ksyms") else { return };
    let int = some_int(btf);
    let has_function = vars.iter().any(|var| btf.kind_code(var.ty) == Some(KindCode::Func));
    let dummy = has_function.then(|| btf.add_var("dummy_ksym", int, VarLinkage::Global));
    let is_used = vars.iter().any(|var| undefined.contains_key(btf.name_of(var.ty)));
    let mut offset = 0;
    for var in &mut vars {
        let name = btf.name_of(var.ty).to_owned();
        let kind = btf.get(var.ty).map(|ty| (ty.func(), ty.var()));
        match (kind, dummy) {
            (Some((Some(func), _)), Some((dummy, dummy_name))) => {
                externs.by_name.insert(name, Extern::Kfunc);
                if is_used {
                    // The kernel wants a name for each parameter.
                    let nameless: Vec<usize> = btf
                        .func_proto(func.proto)
                        .iter()
                        .flat_map(|proto| proto.params().enumerate())
                        .filter(|(_, param)| param.name_off.is_none() && !param.ty.is_void())
                        .map(|(index, _)| index)
                        .collect();
                    for index in nameless {
                        btf.set_param_name(func.proto, index, dummy_name);
                    }
                    btf.set_func_linkage(var.ty, FuncLinkage::Global);
                    var.ty = dummy;
                }
            }
            (Some((_, Some(of))), _) => {
                let is_typed = btf.resolve(of.ty).is_some_and(|ty| !ty.id.is_void());
                externs.by_name.insert(name, Extern::Ksym { is_typed });
                if is_used {
                    btf.set_var_linkage(var.ty, VarLinkage::Global);
                    btf.set_var_type(var.ty, int);
                }
            }
            (Some(_) | None, _) => {}
        }
        (var.offset, var.size) = (offset, 4);
        offset += 4;
    }
    if is_used {
        btf.set_datasec(section, offset, &vars);
    }
}

/// A variable of the configuration.
struct Setting {
    name: String,
    var: TypeId,
    ty: TypeId,
    align: u32,
    size: u32,
    is_weak: bool,
}

fn configuration(
    btf: &mut Btf,
    undefined: &HashMap<&str, &Symbol<'_>>,
    kconfig: &Kconfig,
    externs: &mut Externs,
) -> Result<(), ReadError> {
    let Some((section, mut vars)) = members(btf, ".kconfig") else { return Ok(()) };
    let mut settings = Vec::new();
    for entry in &vars {
        let name = btf.name_of(entry.ty).to_owned();
        let Some(symbol) = undefined.get(name.as_str()) else { continue };
        let wrong = |what: &str| ReadError::symbol(&name, what);
        let var = btf.get(entry.ty).and_then(|ty| ty.var());
        let var = var.ok_or_else(|| wrong("a kernel configuration that is no variable"))?;
        let (size, align) = btf
            .size_of(var.ty)
            .zip(btf.align_of(var.ty))
            .ok_or_else(|| wrong("a kernel configuration without a size"))?;
        let is_weak = symbol.is_weak;
        settings.push(Setting { name, var: entry.ty, ty: var.ty, align, size, is_weak });
    }
    settings.sort_by(|a, b| {
        b.align.cmp(&a.align).then(a.size.cmp(&b.size)).then_with(|| a.name.cmp(&b.name))
    });
    let mut value = Vec::new();
    let mut places = HashMap::new();
    for setting in &settings {
        let wrong = |what: String| ReadError::symbol(&setting.name, what);
        let align = setting.align as usize;
        value.resize(value.len().next_multiple_of(align), 0);
        let bytes = setting_bytes(btf, setting, kconfig).map_err(wrong)?;
        let offset = u32::try_from(value.len()).unwrap_or(u32::MAX);
        value.extend_from_slice(&bytes);
        places.insert(setting.var, offset);
        externs.by_name.insert(setting.name.clone(), Extern::Kconfig { offset });
        externs.in_order.push(setting.name.clone());
    }
    for var in &mut vars {
        if let Some(offset) = places.get(&var.ty) {
            var.offset = *offset;
            btf.set_var_linkage(var.ty, VarLinkage::Global);
        }
    }
    vars.sort_by_key(|var| var.offset);
    let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
    btf.set_datasec(section, size, &vars);
    if size > 0 {
        let mut spec = MapSpec::new(".kconfig", MapType::Array, 4, size, 1);
        spec.btf_value_type_id = section.0;
        spec.flags = MapFlags::RDONLY_PROG | MapFlags::MMAPABLE;
        spec.frozen = true;
        spec.init.push(MapInit { key: vec![0; 4], value: MapInitValue::Bytes(value) });
        externs.kconfig = Some(spec);
    }
    Ok(())
}

/// How large a setting may be, in bytes: strings have up to 4,096.
const MAX_SETTING: u32 = 1 << 16;

/// What a setting's variable holds.
fn setting_bytes(btf: &Btf, setting: &Setting, kconfig: &Kconfig) -> Result<Vec<u8>, String> {
    if setting.size > MAX_SETTING {
        return Err("a kernel configuration of that size is none".to_owned());
    }
    let size = setting.size as usize;
    let number = |value: u64| {
        let bytes = value.to_le_bytes();
        let fits = size <= 8 && bytes[size..].iter().all(|byte| *byte == 0);
        if fits { Ok(bytes[..size].to_vec()) } else { Err(format!("{value} does not fit into it")) }
    };
    match setting.name.as_str() {
        "LINUX_KERNEL_VERSION" => return number(u64::from(kconfig.kernel_version)),
        "LINUX_HAS_BPF_COOKIE" | "LINUX_HAS_SYSCALL_WRAPPER" => return number(1),
        _ => {}
    }
    let Some(text) = kconfig.values.get(&setting.name) else {
        if setting.is_weak {
            return Ok(vec![0; size]);
        }
        return Err("the kernel's configuration does not say, and it is not weak".to_owned());
    };
    let ty = btf.resolve(setting.ty).map(|ty| ty.kind);
    let is_enum = matches!(ty, Some(Kind::Enum(_) | Kind::Enum64(_)));
    match text.as_str() {
        // `enum libbpf_tristate`: no, yes, module.
        "n" if is_enum => number(0),
        "y" if is_enum => number(1),
        "m" if is_enum => number(2),
        "y" | "n" | "m" if matches!(ty, Some(Kind::Int(int)) if int.char || int.size == 1 && !int.bool) => {
            Ok(text.as_bytes().to_vec())
        }
        "y" => number(1),
        "n" => number(0),
        _ => match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(string) => {
                let mut bytes = string.as_bytes().to_vec();
                bytes.truncate(size.saturating_sub(1));
                bytes.resize(size, 0);
                Ok(bytes)
            }
            None => {
                let hex = text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
                let value = hex.unwrap_or_else(|| text.parse());
                number(value.map_err(|_| format!("{text:?} is no value for it"))?)
            }
        },
    }
}
