//! A capture, replayed through a program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use bpfkit::abi::prog::ProgType;
use bpfkit::{CacheStats, CodeCache};
use serde_json::{Value, json};

use super::run::{Args, Counting, Loaded, load};
use super::{maps, read};
use crate::Outcome;
use crate::pcap::{Broken, Capture, Packet, Writer};
use crate::report::{Table, print, progress};

/// How many packets are made ready before the clock is started.
const BATCH: usize = 512;

/// Replays a capture and prints what came of it.
pub(crate) fn run(args: &Args, pcap: &Path) -> anyhow::Result<Outcome> {
    let bytes = read(pcap)?;
    let capture = Capture::read(&bytes);
    let Some(loaded) = load(args, Counting::On)? else { return Ok(Outcome::Refused) };
    let mut replay = Replay::new(&loaded, args)?;
    let total = capture.packets.len() as u64 * u64::from(args.repeat);
    let bar = progress("replaying", total);
    for _ in 0..args.repeat {
        for (n, packet) in capture.packets.iter().enumerate() {
            replay.packet(n + 1, packet)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if let Some(writer) = replay.writer.take() {
        writer.finish().context("--out")?;
    }
    let nanoseconds = time(args, &capture.packets)?;
    let report = Report { args, loaded: &loaded, replay: &replay, nanoseconds };
    print(&if args.json {
        format!("{}\n", report.json(capture.broken.as_ref())?)
    } else {
        report.text()?
    })?;
    if let Some(broken) = &capture.broken {
        anyhow::bail!("{}: {broken}", pcap.display());
    }
    Ok(Outcome::Done)
}

/// What has come of the packets so far.
struct Replay<'a> {
    loaded: &'a Loaded,
    packet: bpfkit::Packet,
    writer: Option<Writer<BufWriter<File>>>,
    packets: u64,
    bytes: u64,
    verdicts: BTreeMap<u32, Tally>,
    /// Packets that could not be given to the program, and why the first could not.
    skipped: u64,
    first_skipped: Option<String>,
}

/// How many packets, and how many bytes they had.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
}

impl<'a> Replay<'a> {
    fn new(loaded: &'a Loaded, args: &Args) -> anyhow::Result<Self> {
        let writer = match &args.out {
            Some(path) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                Some(Writer::new(BufWriter::new(file)).context("--out")?)
            }
            None => None,
        };
        Ok(Self {
            packet: loaded.program.packet(&[0; 64])?,
            loaded,
            writer,
            packets: 0,
            bytes: 0,
            verdicts: BTreeMap::new(),
            skipped: 0,
            first_skipped: None,
        })
    }

    fn packet(&mut self, number: usize, packet: &Packet<'_>) -> anyhow::Result<()> {
        if let Err(error) = self.packet.set(packet.data) {
            self.skipped += 1;
            self.first_skipped.get_or_insert_with(|| format!("packet {number}: {error}"));
            return Ok(());
        }
        let verdict = self
            .loaded
            .program
            .run(&mut self.packet)
            .with_context(|| format!("packet {number}"))?;
        let len = packet.data.len() as u64;
        self.packets += 1;
        self.bytes += len;
        let tally = self.verdicts.entry(verdict).or_default();
        tally.packets += 1;
        tally.bytes += len;
        if let Some(writer) = &mut self.writer
            && passes(self.loaded.program.prog_type(), verdict)
        {
            writer.write(packet.time, &self.packet.to_vec()).context("--out")?;
        }
        Ok(())
    }
}

/// Nanoseconds a packet, on average: packets are made ready outside of the timed loop, on an
/// object of its own that does not count.
fn time(args: &Args, packets: &[Packet<'_>]) -> anyhow::Result<Option<f64>> {
    let Some(loaded) = load(args, Counting::Off)? else { return Ok(None) };
    let mut ready = Vec::new();
    let (mut runs, mut nanoseconds) = (0_u64, 0_u128);
    // Once to warm up, then measured.
    for round in 0..=args.repeat {
        for batch in packets.chunks(BATCH) {
            let mut filled = 0;
            for packet in batch {
                if ready.len() == filled {
                    ready.push(loaded.program.packet(&[0; 64])?);
                }
                if ready[filled].set(packet.data).is_ok() {
                    filled += 1;
                }
            }
            let begin = Instant::now();
            for packet in &mut ready[..filled] {
                loaded.program.run(packet)?;
            }
            if round > 0 {
                nanoseconds += begin.elapsed().as_nanos();
                runs += filled as u64;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "an average, to be printed with two digits")]
    Ok((runs > 0).then(|| nanoseconds as f64 / runs as f64))
}

/// Whether a verdict lets a packet go on.
fn passes(prog_type: ProgType, verdict: u32) -> bool {
    match verdict_names(prog_type) {
        Some(Names::Xdp) => matches!(verdict, 2..=4),
        Some(Names::Tc) => !matches!(verdict, 2 | 4 | 5 | 8),
        None => verdict != 0,
    }
}

/// Which verdicts have names.
enum Names {
    Xdp,
    Tc,
}

fn verdict_names(prog_type: ProgType) -> Option<Names> {
    if prog_type == ProgType::Xdp {
        Some(Names::Xdp)
    } else if matches!(prog_type, ProgType::SchedCls | ProgType::SchedAct) {
        Some(Names::Tc)
    } else {
        None
    }
}

/// A verdict as the kernel's headers name it.
fn verdict_name(prog_type: ProgType, verdict: u32) -> String {
    const XDP: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    const TC: [&str; 9] = [
        "TC_ACT_OK",
        "TC_ACT_RECLASSIFY",
        "TC_ACT_SHOT",
        "TC_ACT_PIPE",
        "TC_ACT_STOLEN",
        "TC_ACT_QUEUED",
        "TC_ACT_REPEAT",
        "TC_ACT_REDIRECT",
        "TC_ACT_TRAP",
    ];
    let at = verdict as usize;
    let name = match verdict_names(prog_type) {
        Some(Names::Xdp) => XDP.get(at),
        Some(Names::Tc) if verdict == u32::MAX => Some(&"TC_ACT_UNSPEC"),
        Some(Names::Tc) => TC.get(at),
        None => None,
    };
    name.map_or_else(|| verdict.to_string(), |&name| name.to_owned())
}

/// What is printed in the end.
struct Report<'a> {
    args: &'a Args,
    loaded: &'a Loaded,
    replay: &'a Replay<'a>,
    nanoseconds: Option<f64>,
}

impl Report<'_> {
    fn name(&self, verdict: u32) -> String {
        verdict_name(self.loaded.program.prog_type(), verdict)
    }

    fn text(&self) -> anyhow::Result<String> {
        let mut verdicts = Table::new(&["verdict", "packets", "bytes"]);
        for (verdict, tally) in &self.replay.verdicts {
            verdicts.row(vec![
                self.name(*verdict),
                tally.packets.to_string(),
                tally.bytes.to_string(),
            ]);
        }
        let mut programs = Table::new(&["program", "runs", "tail calls", "fell through"]);
        for program in self.programs() {
            let counts = program.counters().unwrap_or_default();
            programs.row(vec![
                program.name().to_owned(),
                counts.runs.to_string(),
                counts.tail_calls.to_string(),
                counts.fallen_through.to_string(),
            ]);
        }
        let Replay { packets, bytes, skipped, first_skipped, .. } = self.replay;
        let speed =
            self.nanoseconds.map(|ns| format!(", {ns:.1} ns per packet")).unwrap_or_default();
        let mut text = format!("{}\n{}\n", verdicts.render(), programs.render());
        text.push_str(&format!("{packets} packets, {bytes} bytes{speed} ({})\n", self.engine()));
        if let Some(cache) = self.code_cache() {
            let (hits, misses) = (cache.hits, cache.misses);
            text.push_str(&format!("code cache: {hits} programs found, {misses} compiled\n"));
        }
        if let Some(first) = first_skipped {
            text.push_str(&format!("{skipped} packets not run: {first}\n"));
        }
        for program in self.programs() {
            let misses = program.info().recursion_misses;
            if misses > 0 {
                text.push_str(&format!("{}: recursion_misses {misses}\n", program.name()));
            }
        }
        for object in self.objects() {
            text.push_str(&maps::text(object, &self.loaded.runtime, self.args.map_entries)?);
        }
        Ok(text)
    }

    /// The object, and those of what is attached to it.
    fn objects(&self) -> impl Iterator<Item = &bpfkit::Object> {
        let attached = self.loaded.attached.iter().map(|attached| &attached.object);
        std::iter::once(&self.loaded.object).chain(attached)
    }

    fn programs(&self) -> impl Iterator<Item = &bpfkit::Program> {
        self.objects().flat_map(bpfkit::Object::programs)
    }

    fn json(&self, broken: Option<&Broken>) -> anyhow::Result<Value> {
        let verdicts: serde_json::Map<String, Value> = self
            .replay
            .verdicts
            .iter()
            .map(|(verdict, tally)| {
                (self.name(*verdict), json!({"packets": tally.packets, "bytes": tally.bytes}))
            })
            .collect();
        let programs: Vec<Value> = self
            .programs()
            .map(|program| {
                let counts = program.counters().unwrap_or_default();
                json!({
                    "name": program.name(),
                    "runs": counts.runs,
                    "tail_calls": counts.tail_calls,
                    "fallen_through": counts.fallen_through,
                    "recursion_misses": program.info().recursion_misses,
                })
            })
            .collect();
        let mut maps = Vec::new();
        for object in self.objects() {
            maps.extend(maps::json(object, &self.loaded.runtime)?);
        }
        Ok(json!({
            "object": self.args.object().display().to_string(),
            "program": self.loaded.program.name(),
            "engine": self.engine(),
            "packets": self.replay.packets,
            "bytes": self.replay.bytes,
            "skipped": self.replay.skipped,
            "ns_per_packet": self.nanoseconds,
            "code_cache": self.code_cache().map(|cache| json!({
                "hits": cache.hits, "misses": cache.misses, "refused": cache.refused,
            })),
            "verdicts": verdicts,
            "programs": programs,
            "maps": maps,
            "broken": broken.map(|broken| json!({
                "packet": broken.packet, "offset": broken.offset, "what": broken.what,
            })),
        }))
    }

    /// What the code cache did, if there is one.
    fn code_cache(&self) -> Option<CacheStats> {
        self.args.code_cache.as_ref()?;
        self.loaded.runtime.code_cache().map(CodeCache::stats)
    }

    fn engine(&self) -> &'static str {
        match self.loaded.program.info().engine {
            bpfkit::abi::exec::Engine::Jit => "jit",
            bpfkit::abi::exec::Engine::Interp => "interp",
        }
    }
}
