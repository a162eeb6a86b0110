//! The JIT: from an image to code that runs.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bpf_abi::exec::{ProgCounters, ProgEntry, RunCx};
use bpf_abi::image::Image;
use bpf_isa::Pc;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::ExternalName;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::FunctionBuilderContext;

use crate::abi::{self, Name};
use crate::cache::CodeCache;
#[cfg(debug_assertions)]
use crate::cache::entry;
use crate::code::{Arena, Chunk};
use crate::combine;
use crate::error::CompileError;
use crate::finish::{Entered, LINE, finish};
use crate::inline::{self, Plan};
use crate::input::Input;
use crate::key::{EngineId, Key};
use crate::layout::Layout;
use crate::lower::{self, Mode, Unit};
use crate::slot::{self, EntrySlot};
use crate::unplaced::{Assembly, Fixup, Home, Part, Piece, Placed, Unplaced};

/// How a JIT is set up.
#[derive(Clone, Debug)]
pub struct JitOptions {
    /// How much address space to reserve for code, in bytes: at least 64 KiB, at most 1 GiB.
    pub reserve: usize,
    /// Whether code is optimised.
    pub optimize: bool,
    /// Programs of more instructions are not optimised in any case.
    pub max_optimized: usize,
    /// Whether Cranelift checks what it is given; for tests.
    pub check: bool,
    /// How entry slots are changed while programs run.
    pub slots: SlotMode,
    /// Whether small static functions become part of those that call them, and helpers that call a
    /// known function again and again become loops. Whoever points the slot of such a function
    /// elsewhere first has it [set apart](Jit::set_apart).
    pub inline: bool,
    /// Where code is kept for programs that are compiled again; nowhere if there is none.
    pub cache: Option<CodeCache>,
}

impl Default for JitOptions {
    fn default() -> Self {
        Self {
            reserve: 256 << 20,
            optimize: true,
            max_optimized: 50_000,
            check: false,
            slots: SlotMode::Word,
            inline: true,
            cache: None,
        }
    }
}

/// How entry slots are changed while programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlotMode {
    /// A slot is a nop or a jump, exchanged as a whole. An idle slot costs nothing.
    #[default]
    Word,
    /// A slot is a jump whose displacement is exchanged: asks less of the processor, costs a jump
    /// a call.
    Displacement,
    /// There is none that works: calls go to bodies, and nothing can be attached to functions. For
    /// measuring what slots cost.
    Absent,
}

/// A just-in-time compiler, and the memory its code is in.
///
/// Programs may tail-call each other if one `Jit` compiled them. Many can live in one process.
#[derive(Clone)]
pub struct Jit {
    arena: Arc<Arena>,
    options: JitOptions,
    fast: Arc<Target>,
    plain: Arc<OnceLock<Target>>,
}

impl fmt::Debug for Jit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Jit {
    /// Sets one up.
    ///
    /// # Errors
    ///
    /// Returns an error on other targets than x86-64 Linux, or if the system gives no memory for
    /// code.
    pub fn new(options: JitOptions) -> Result<Self, CompileError> {
        let fast = Arc::new(Target::new(options.optimize, options.check)?);
        let arena = Arc::new(Arena::new(options.reserve)?);
        Ok(Self { arena, options, fast, plain: Arc::default() })
    }

    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// Returns an error if an instruction asks for what compiled code cannot do, or if there is no
    /// room for the code.
    pub fn compile(&self, image: &Image) -> Result<Compiled, CompileError> {
        self.compile_as(image, Mode::Plain, None)
    }

    /// Compiles a program to code that counts its runs and its tail calls in `counters`.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn compile_counted(
        &self,
        image: &Image,
        counters: Arc<ProgCounters>,
    ) -> Result<Compiled, CompileError> {
        self.compile_as(image, Mode::Counted, Some(counters))
    }

    /// The code of a program, if it was compiled before and is kept: see [`CodeCache`]. With
    /// `counters` the code counts its runs and its tail calls there.
    pub fn cached(&self, image: &Image, counters: Option<&Arc<ProgCounters>>) -> Option<Compiled> {
        let cache = self.options.cache.as_ref()?;
        let mode = if counters.is_some() { Mode::Counted } else { Mode::Plain };
        let input = self.input(image, mode);
        self.kept(cache, &self.key(&input).ok()?, image, counters)
    }

    /// Compiles a program to code that does what `mode` says besides, if it is not kept.
    pub(crate) fn compile_as(
        &self,
        image: &Image,
        mode: Mode,
        counters: Option<Arc<ProgCounters>>,
    ) -> Result<Compiled, CompileError> {
        let input = self.input(image, mode);
        let Some(cache) = &self.options.cache else {
            let code = self.translate(&input)?;
            return self.settle(&code, image, counters, || self.key(&input));
        };
        let key = self.key(&input)?;
        if let Some(compiled) = self.kept(cache, &key, image, counters.as_ref()) {
            return Ok(compiled);
        }
        cache.miss();
        let code = Arc::new(self.translate(&input)?);
        cache.put(&key, &code);
        self.settle(&code, image, counters, || Ok(key))
    }

    /// Has every function's calls go through its slot, in runs that begin from now on: what is part
    /// of others is compiled apart, if it was not yet.
    ///
    /// `image` and `counters` are those that the program was compiled with.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for the code, or if it is another image.
    pub fn set_apart(
        &self,
        compiled: &Compiled,
        image: &Image,
        counters: Option<&Arc<ProgCounters>>,
    ) -> Result<(), CompileError> {
        let Some(made_of) = compiled.made_of else { return Ok(()) };
        let mut apart = compiled.apart.lock().unwrap_or_else(PoisonError::into_inner);
        if apart.is_some() {
            return Ok(());
        }
        let mode = if counters.is_some() { Mode::Counted } else { Mode::Plain };
        let mut input = self.input(image, mode);
        if self.key(&input)? != made_of {
            return Err(CompileError::Malformed { pc: Pc(0), what: "another program" });
        }
        input.inlines = false;
        let code = self.code(&input)?;
        let home = Home { image, apart: &[], callees: Some(compiled) };
        let placed = code.place(&self.arena, home, counters.cloned())?;
        for piece in code.pieces.iter() {
            if let Part::Function(number) = piece.part
                && let Some(cell) = compiled.cells.get(number)
            {
                let body = piece.start + piece.part.slot_size();
                cell.store(placed.chunk.address() + body as u64, Ordering::Release);
            }
        }
        *apart = Some(placed);
        Ok(())
    }

    /// What is kept, or made.
    fn code(&self, input: &Input<'_>) -> Result<Arc<Unplaced>, CompileError> {
        let Some(cache) = &self.options.cache else { return self.translate(input).map(Arc::new) };
        let key = self.key(input)?;
        if let Some(code) = cache.get(&key) {
            cache.hit();
            return Ok(code);
        }
        cache.miss();
        let code = Arc::new(self.translate(input)?);
        cache.put(&key, &code);
        Ok(code)
    }

    /// What the code of a program is made of.
    pub(crate) fn input<'a>(&self, image: &'a Image, mode: Mode) -> Input<'a> {
        Input::new(image, &self.arena, mode, self.options.slots, self.options.inline)
    }

    /// What code that is made of `input` is kept by.
    pub(crate) fn key(&self, input: &Input<'_>) -> Result<Key, CompileError> {
        Ok(Key::new(self.target(input)?.id(), input))
    }

    fn kept(
        &self,
        cache: &CodeCache,
        key: &Key,
        image: &Image,
        counters: Option<&Arc<ProgCounters>>,
    ) -> Option<Compiled> {
        let code = cache.get(key)?;
        match self.settle(&code, image, counters.cloned(), || Ok(*key)) {
            Ok(compiled) => {
                cache.hit();
                Some(compiled)
            }
            Err(CompileError::OutOfCodeMemory { .. }) => None,
            Err(_) => {
                cache.refuse(key);
                None
            }
        }
    }

    /// Makes code.
    pub(crate) fn translate(&self, input: &Input<'_>) -> Result<Unplaced, CompileError> {
        let layout = Layout::new(input, input.mode == Mode::Checked)?;
        let target = self.target(input)?;
        let mut unit = Assembly::new(input.slots, layout.takes_tail_calls);
        let plans = inline::plans(input, &layout)?;
        generate(input, &layout, &plans, &target.isa, |ir, part| {
            let mut cx = Context::for_function(ir);
            let failed = |error| CompileError::Codegen {
                function: part.function(),
                what: format!("{error:?}"),
            };
            if let Some(optimizer) = &target.optimizer {
                combine::before(&mut cx.func);
                cx.optimize(&**optimizer, &mut ControlPlane::default()).map_err(failed)?;
                combine::after(&mut cx.func);
            }
            let code = cx.compile(&*target.isa, &mut ControlPlane::default());
            let code = code.map_err(|error| failed(error.inner))?;
            let relocs = code.buffer.relocs().to_vec();
            let fixed: Vec<usize> = relocs.iter().map(|reloc| reloc.offset as usize).collect();
            let entered = match part {
                Part::Function(0) => Entered::AsMain { saved: layout.takes_tail_calls },
                Part::Function(_) | Part::Callback(_) => Entered::ByCalls,
            };
            let finished = finish(code.code_buffer(), &fixed, unit.body(part) % LINE, entered);
            let must_be = layout.takes_tail_calls || part == Part::Function(0);
            if must_be && !finished.is_finished {
                let what = "code that tail calls cannot leave or enter".to_owned();
                return Err(CompileError::Codegen { function: part.function(), what });
            }
            let places = code.buffer.get_srclocs_sorted().iter().map(|place| {
                let at = finished.place_of(place.start as usize);
                (u32::try_from(at).unwrap_or(u32::MAX), place.loc.bits())
            });
            let at = unit.add(part, &finished.bytes, places.collect());
            for reloc in relocs {
                let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = reloc.target
                else {
                    return Err(part.odd_relocation(reloc.kind));
                };
                let name = Name::of(&cx.func.params.user_named_funcs()[name]);
                let name = match (name, reloc.kind) {
                    (Some(name @ Name::Data(_)), Reloc::Abs8) => name,
                    (
                        Some(name @ (Name::Function(_) | Name::Callback(_) | Name::Helper(_))),
                        Reloc::X86CallPCRel4 | Reloc::X86PCRel4,
                    ) => name,
                    _ => return Err(part.odd_relocation(reloc.kind)),
                };
                let at = at + finished.place_of(reloc.offset as usize);
                unit.fixups.push(Fixup { at, name, addend: reloc.addend });
            }
            Ok(())
        })?;
        let arities = layout.functions.iter().map(|function| function.arity).collect();
        let is_c = layout.functions.first().is_some_and(|main| main.is_c);
        let code = unit.finish(arities, inline::inlined(&plans), is_c);
        debug_assert_eq!(code.flaw(), None);
        Ok(code)
    }

    /// Puts code in its place.
    pub(crate) fn settle(
        &self,
        code: &Unplaced,
        image: &Image,
        counters: Option<Arc<ProgCounters>>,
        key: impl FnOnce() -> Result<Key, CompileError>,
    ) -> Result<Compiled, CompileError> {
        // Where nobody waits for code, all of it comes by way of its written form: whatever is
        // tested is tested so.
        #[cfg(debug_assertions)]
        let code = &entry::reread(code);
        let is_part = code.inlined.contains(&true);
        let made_of = if is_part { Some(key()?) } else { None };
        let cells = if is_part { code.arities.len() } else { 0 };
        let cells: Box<[AtomicU64]> = (0..cells).map(|_| AtomicU64::new(0)).collect();
        let home = Home { image, apart: &cells, callees: None };
        let Placed { chunk, keep } = code.place(&self.arena, home, counters)?;
        let name = |number: usize| Some(image.subprogs.get(number)?.name.clone());
        let names = (0..code.arities.len()).map(|number| name(number).unwrap_or_default());
        Ok(Compiled {
            main: chunk.address() + code.pieces.first().map_or(0, |main| main.start as u64),
            chunk,
            direct: AtomicBool::new(code.is_c),
            pieces: Arc::clone(&code.pieces),
            names: names.collect(),
            arities: Arc::clone(&code.arities),
            inlined: Arc::clone(&code.inlined),
            slots: code.slots,
            made_of,
            cells,
            apart: Mutex::default(),
            keep,
        })
    }

    /// What a program is before code is made of it: the code generator's own text, unoptimised.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn clif(&self, image: &Image) -> Result<String, CompileError> {
        let input = self.input(image, Mode::Plain);
        let layout = Layout::new(&input, false)?;
        let plans = inline::plans(&input, &layout)?;
        let mut text = String::new();
        generate(&input, &layout, &plans, &self.target(&input)?.isa, |ir, _| {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&ir.display().to_string());
            Ok(())
        })?;
        Ok(text)
    }

    /// Where code is kept for programs that are compiled again, if it is.
    pub const fn cache(&self) -> Option<&CodeCache> {
        self.options.cache.as_ref()
    }

    pub(crate) const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many bytes of code memory are free.
    pub fn free_memory(&self) -> usize {
        self.arena.free().0
    }

    /// What makes code of `input`.
    fn target(&self, input: &Input<'_>) -> Result<&Target, CompileError> {
        if input.program.len() <= self.options.max_optimized {
            return Ok(&self.fast);
        }
        if let Some(plain) = self.plain.get() {
            return Ok(plain);
        }
        let plain = Target::new(false, self.options.check)?;
        Ok(self.plain.get_or_init(|| plain))
    }
}

/// Hands each function of a program to `consume`.
fn generate(
    input: &Input<'_>,
    layout: &Layout,
    plans: &[Plan],
    isa: &OwnedTargetIsa,
    mut consume: impl FnMut(cranelift_codegen::ir::Function, Part) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let config = isa.frontend_config();
    let unit = Unit { image: input, layout, plans, config, mode: input.mode };
    let mut cx = FunctionBuilderContext::new();
    for number in 0..layout.functions.len() {
        let mut ir = cranelift_codegen::ir::Function::new();
        ir.name = cranelift_codegen::ir::UserFuncName::User(
            Name::Function(u32::try_from(number).unwrap_or(u32::MAX)).external(),
        );
        lower::function(unit, number, &mut ir, &mut cx)?;
        consume(ir, Part::Function(number))?;
    }
    for number in 0..layout.functions.len() {
        if !layout.functions[number].is_callback {
            continue;
        }
        let mut ir = cranelift_codegen::ir::Function::new();
        ir.name = cranelift_codegen::ir::UserFuncName::User(
            Name::Callback(u32::try_from(number).unwrap_or(u32::MAX)).external(),
        );
        lower::callback(unit, number, &mut ir, &mut cx);
        consume(ir, Part::Callback(number))?;
    }
    Ok(())
}

/// A code generator of Cranelift's, and what tells it from others.
struct Target {
    /// Optimises functions, if that is wanted.
    optimizer: Option<OwnedTargetIsa>,
    /// Makes code of them, and does not look for anything to optimise.
    isa: OwnedTargetIsa,
    id: OnceLock<EngineId>,
}

impl Target {
    fn new(optimize: bool, check: bool) -> Result<Self, CompileError> {
        let optimizer = if optimize { Some(target("speed", check)?) } else { None };
        Ok(Self { optimizer, isa: target("none", check)?, id: OnceLock::new() })
    }

    fn id(&self) -> &EngineId {
        self.id.get_or_init(|| EngineId::new(self.optimizer.as_ref().unwrap_or(&self.isa)))
    }
}

/// The code generator for this processor.
fn target(opt_level: &str, check: bool) -> Result<OwnedTargetIsa, CompileError> {
    let failed = |what: String| CompileError::NoTarget { what };
    let mut flags = settings::builder();
    let settings = [
        ("opt_level", opt_level),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", if check { "true" } else { "false" }),
        ("preserve_frame_pointers", "true"),
        ("enable_pinned_reg", "true"),
        ("unwind_info", "false"),
        ("is_pic", "false"),
        ("enable_probestack", "false"),
        ("log2_min_function_alignment", "5"),
    ];
    for (name, value) in settings {
        flags.set(name, value).map_err(|error| failed(error.to_string()))?;
    }
    let builder = cranelift_native::builder().map_err(|what| failed(what.to_owned()))?;
    let isa = builder.finish(settings::Flags::new(flags));
    isa.map_err(|error| failed(error.to_string()))
}

/// A compiled program.
///
/// Its code is freed when it is dropped, and the memory used again for other code. Threads inside
/// of [`run`](Self::run) borrow it; but a program array may hold its [`entry`](Self::entry), and
/// a slot of another program may jump into it. Whoever puts an address there keeps `Compiled`
/// until nobody can have it any more: `[code-outlives-calls]`.
pub struct Compiled {
    chunk: Chunk,
    main: u64,
    /// Whether the main function is a C function whose slot was never pointed elsewhere.
    direct: AtomicBool,
    pieces: Arc<[Piece]>,
    names: Vec<String>,
    arities: Arc<[u8]>,
    /// Which functions are part of others too.
    inlined: Arc<[bool]>,
    slots: SlotMode,
    /// What it was made of, if functions are part of others.
    made_of: Option<Key>,
    /// Where functions look whether they were compiled apart: one for each, if any is to look.
    cells: Box<[AtomicU64]>,
    /// The code in which every function is apart, once it is asked for.
    apart: Mutex<Option<Placed>>,
    #[expect(
        dead_code,
        reason = "what the code has addresses of, maps and counters, stays as long"
    )]
    keep: Vec<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Runs the program with this context; returns its R0, and leaves in `cx` how many tail calls
    /// it took.
    ///
    /// # Safety
    ///
    /// `[run-context]`: `ctx` is the address of a context as the program's type promises it, and
    /// `cx.env` and `cx.cpu` are what the image's helpers and maps ask for; both for this thread
    /// alone as long as the program runs.
    #[inline(always)]
    #[expect(unsafe_code, reason = "declares an obligation; enters compiled code")]
    pub unsafe fn run(&self, cx: &mut RunCx, ctx: u64) -> u64 {
        cx.callback = Some(abi::call_back);
        cx.ctx = ctx;
        if self.direct.load(Ordering::Relaxed) {
            cx.tail_calls = 0;
            // SAFETY: [verified-memory] as below; the body is entered past its slot, so it is what
            // it was compiled to be.
            return unsafe { abi::enter_directly(ctx, cx, self.body()) };
        }
        // SAFETY: [verified-memory] the image was vouched for, and the caller keeps the rest; if the
        // code was kept, it is what would be made of this image: [kept-code].
        unsafe { abi::enter(ctx, cx, self.main) }
    }

    /// The address that the prologue calls.
    pub(crate) const fn main(&self) -> u64 {
        self.main
    }

    /// The address of the main function's body.
    #[inline]
    pub(crate) const fn body(&self) -> u64 {
        self.main + slot::SIZE as u64
    }

    /// The address that program arrays hold: past the main function's entry slot, since whoever
    /// watches or replaces it does so for those who enter the program, not for tail calls; and past
    /// the setting up of its frame pointer, since a tail call keeps the one there is.
    pub const fn entry(&self) -> u64 {
        self.body() + ProgEntry::BEHIND_CALLED
    }

    /// The entry slot of a function, counted in the order of their places.
    pub fn slot(&self, function: usize) -> Option<EntrySlot<'_>> {
        let piece = self.pieces.iter().find(|piece| piece.part == Part::Function(function))?;
        let direct = (function == 0).then_some(&self.direct);
        let is_all = !self.is_inlined(function) || self.is_apart();
        Some(EntrySlot::new(&self.chunk, piece.start, self.slots, direct, is_all))
    }

    /// Whether a function is part of others too.
    pub fn is_inlined(&self, function: usize) -> bool {
        self.inlined.get(function).copied().unwrap_or(false)
    }

    fn is_apart(&self) -> bool {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Where a piece of it is.
    pub(crate) fn start_of(&self, part: Part) -> Option<u64> {
        let piece = self.pieces.iter().find(|piece| piece.part == part)?;
        Some(self.chunk.address() + piece.start as u64)
    }

    /// How many of a function's arguments are passed in registers, behind which follows the run.
    pub fn arity(&self, function: usize) -> Option<u8> {
        self.arities.get(function).copied()
    }

    /// How many functions it has.
    pub const fn functions(&self) -> usize {
        self.names.len()
    }

    /// Its size in bytes, with what is between functions.
    pub const fn code_size(&self) -> usize {
        self.chunk.len()
    }

    pub(crate) const fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    pub(crate) fn name(&self, function: usize) -> &str {
        self.names.get(function).map_or("", String::as_str)
    }
}
