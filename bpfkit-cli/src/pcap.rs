//! Captures in and out: pcap (micro- and nanoseconds, both byte orders) and pcapng.

use std::fmt;
use std::io::Write;

use pcap_parser::nom::Err as NomErr;
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::{
    LegacyPcapBlock, Linktype, PcapError, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header,
};

/// A packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    /// How long it was before it was cut to what was captured, in bytes.
    pub(crate) original: u32,
    /// What was captured.
    pub(crate) data: &'a [u8],
}

/// A capture, read as far as it can be.
#[derive(Debug)]
pub(crate) struct Capture<'a> {
    /// The packets before the first thing that cannot be read.
    pub(crate) packets: Vec<Packet<'a>>,
    /// What cannot be read, if the file is not whole.
    pub(crate) broken: Option<Broken>,
}

/// Where and why a capture cannot be read further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The packet that could not be read, counted from 1.
    pub(crate) packet: usize,
    /// Where in the file, in bytes.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packet {} at offset {}: {}", self.packet, self.offset, self.what)
    }
}

/// Ethernet: the one link type whose packets begin as programs expect.
const ETHERNET: Linktype = Linktype(1);

impl<'a> Capture<'a> {
    /// Reads a capture.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut capture = Self { packets: Vec::new(), broken: None };
        let result = match bytes {
            [0xd4, 0xc3, 0xb2, 0xa1, ..] => capture.read_pcap(bytes, parse_pcap_frame, 1_000),
            [0xa1, 0xb2, 0xc3, 0xd4, ..] => capture.read_pcap(bytes, parse_pcap_frame_be, 1_000),
            [0x4d, 0x3c, 0xb2, 0xa1, ..] => capture.read_pcap(bytes, parse_pcap_frame, 1),
            [0xa1, 0xb2, 0x3c, 0x4d, ..] => capture.read_pcap(bytes, parse_pcap_frame_be, 1),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => capture.read_pcapng(bytes),
            [] => Err((0, "an empty file".to_owned())),
            _ => Err((
                0,
                "neither pcap nor pcapng: the file begins with no mark of either".to_owned(),
            )),
        };
        if let Err((offset, what)) = result {
            capture.broken = Some(Broken { packet: capture.packets.len() + 1, offset, what });
        }
        capture
    }

    /// The classic format; `unit` is what its fractions of a second count, in nanoseconds.
    fn read_pcap(
        &mut self,
        bytes: &'a [u8],
        frame: Frame,
        unit: u64,
    ) -> Result<(), (usize, String)> {
        let (mut rest, header) = parse_pcap_header(bytes).map_err(|error| (0, reason(&error)))?;
        check_link(header.network, 20)?;
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            let (after, block) = frame(rest).map_err(|error| (offset, reason(&error)))?;
            rest = after;
            let time = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * unit;
            self.push(time, block.origlen, block.data, block.caplen, offset)?;
        }
        Ok(())
    }

    /// The newer format: blocks, of which some are packets.
    fn read_pcapng(&mut self, bytes: &'a [u8]) -> Result<(), (usize, String)> {
        let mut rest = bytes;
        let mut big_endian = false;
        let mut interfaces: Vec<Interface> = Vec::new();
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            if rest.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
                big_endian = rest.get(8..12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
                interfaces.clear();
            }
            let parse = if big_endian { parse_block_be } else { parse_block_le };
            let (after, block) = parse(rest).map_err(|error| (offset, reason(&error)))?;
            rest = after;
            match block {
                Block::InterfaceDescription(block) => interfaces.push(Interface {
                    link: block.linktype,
                    resolution: block.ts_resolution().filter(|units| *units > 0).ok_or_else(
                        || (offset, "a clock resolution that no number holds".to_owned()),
                    )?,
                    shift: block.ts_offset(),
                }),
                Block::EnhancedPacket(block) => {
                    let interface =
                        usize::try_from(block.if_id).ok().and_then(|id| interfaces.get(id));
                    let interface = interface.ok_or_else(|| {
                        (
                            offset,
                            format!("interface {}, which the file does not describe", block.if_id),
                        )
                    })?;
                    check_link(interface.link, offset)?;
                    let time = interface.nanoseconds(block.ts_high, block.ts_low);
                    self.push(time, block.origlen, block.data, block.caplen, offset)?;
                }
                Block::SimplePacket(block) => {
                    let interface = interfaces.first().ok_or_else(|| {
                        (offset, "a packet of an interface not described".to_owned())
                    })?;
                    check_link(interface.link, offset)?;
                    let captured =
                        block.origlen.min(u32::try_from(block.data.len()).unwrap_or(u32::MAX));
                    self.push(0, block.origlen, block.data, captured, offset)?;
                }
                Block::SectionHeader(_)
                | Block::NameResolution(_)
                | Block::InterfaceStatistics(_)
                | Block::SystemdJournalExport(_)
                | Block::DecryptionSecrets(_)
                | Block::ProcessInformation(_)
                | Block::Custom(_)
                | Block::Unknown(_) => {}
            }
        }
        Ok(())
    }

    /// Adds a packet; `data` may be followed by padding.
    fn push(
        &mut self,
        time: u64,
        original: u32,
        data: &'a [u8],
        captured: u32,
        offset: usize,
    ) -> Result<(), (usize, String)> {
        let data = data
            .get(..captured as usize)
            .ok_or_else(|| (offset, "a packet longer than its block".to_owned()))?;
        self.packets.push(Packet { time, original, data });
        Ok(())
    }
}

/// How a packet of the classic format is read.
type Frame =
    for<'b> fn(&'b [u8]) -> Result<(&'b [u8], LegacyPcapBlock<'b>), NomErr<PcapError<&'b [u8]>>>;

/// What pcapng says of an interface.
struct Interface {
    link: Linktype,
    /// How many units of its clock are a second.
    resolution: u64,
    /// What its clock is off, in seconds.
    shift: i64,
}

impl Interface {
    fn nanoseconds(&self, high: u32, low: u32) -> u64 {
        let units = u128::from(high) << 32 | u128::from(low);
        let nanoseconds = units * 1_000_000_000 / u128::from(self.resolution);
        let shifted = i128::try_from(nanoseconds).unwrap_or(i128::MAX)
            + i128::from(self.shift) * 1_000_000_000;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

fn check_link(link: Linktype, offset: usize) -> Result<(), (usize, String)> {
    if link == ETHERNET {
        return Ok(());
    }
    Err((offset, format!("link type {}: only Ethernet (1) can be run on", link.0)))
}

/// What the parser says, in a few words.
fn reason(error: &NomErr<PcapError<&[u8]>>) -> String {
    match error {
        NomErr::Incomplete(_) => "the file ends within it".to_owned(),
        NomErr::Error(error) | NomErr::Failure(error) => match error {
            PcapError::Eof
            | PcapError::UnexpectedEof
            | PcapError::Incomplete(_)
            | PcapError::BufferTooSmall => "the file ends within it".to_owned(),
            PcapError::HeaderNotRecognized
            | PcapError::NomError(..)
            | PcapError::OwnedNomError(..)
            | PcapError::ReadError => "it is damaged".to_owned(),
        },
    }
}

/// Writes a capture: classic format, nanoseconds, Ethernet.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins a capture.
    pub(crate) fn new(mut to: W) -> std::io::Result<Self> {
        let (magic, version, snap_length) = (0xa1b2_3c4d_u32, [2_u16, 4], 0x4_0000_u32);
        to.write_all(&magic.to_le_bytes())?;
        for half in version {
            to.write_all(&half.to_le_bytes())?;
        }
        for word in [0, 0, snap_length, 1] {
            to.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { to })
    }

    /// Adds a packet.
    pub(crate) fn write(&mut self, time: u64, data: &[u8]) -> std::io::Result<()> {
        let word = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        self.to.write_all(&word(time / 1_000_000_000))?;
        self.to.write_all(&word(time % 1_000_000_000))?;
        self.to.write_all(&word(data.len() as u64))?;
        self.to.write_all(&word(data.len() as u64))?;
        self.to.write_all(data)
    }

    /// Ends it: everything written is on its way.
    pub(crate) fn finish(mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(packets: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for (time, data) in packets {
            writer.write(*time, data).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written(&[(1_500_000_001, b"abc"), (7, b"")]);
        let capture = Capture::read(&bytes);
        assert_eq!(capture.broken, None);
        let read: Vec<_> =
            capture.packets.iter().map(|packet| (packet.time, packet.data)).collect();
        assert_eq!(read, [(1_500_000_001, &b"abc"[..]), (7, b"")]);
    }

    #[test]
    fn a_cut_file_names_the_packet_and_keeps_those_before() {
        let bytes = written(&[(1, b"abc"), (2, b"defghi")]);
        for cut in 24 + 16 + 3 + 1..bytes.len() {
            let capture = Capture::read(&bytes[..cut]);
            assert_eq!(capture.packets.len(), 1, "cut at {cut}");
            let broken = capture.broken.unwrap();
            assert_eq!((broken.packet, broken.offset), (2, 24 + 16 + 3), "cut at {cut}");
        }
    }

    #[test]
    fn both_byte_orders_and_both_units_are_read() {
        for (magic, order) in [(0xa1b2_c3d4_u32, false), (0xa1b2_c3d4, true), (0xa1b2_3c4d, true)] {
            let word = |n: u32| if order { n.to_be_bytes() } else { n.to_le_bytes() };
            let half = |n: u16| if order { n.to_be_bytes() } else { n.to_le_bytes() };
            let mut bytes = word(magic).to_vec();
            bytes.extend([half(2), half(4)].concat());
            bytes.extend([word(0), word(0), word(100), word(1)].concat());
            bytes.extend([word(3), word(5), word(2), word(9)].concat());
            bytes.extend([1, 2]);
            let capture = Capture::read(&bytes);
            let unit = if magic == 0xa1b2_c3d4 { 1_000 } else { 1 };
            let expected = Packet { time: 3_000_000_000 + 5 * unit, original: 9, data: &[1, 2] };
            assert_eq!((capture.packets, capture.broken), (vec![expected], None));
        }
    }

    /// A section, an interface that counts nanoseconds, and a packet of three bytes.
    fn pcapng() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut block = |kind: u32, body: &[u8]| {
            let len = u32::try_from(12 + body.len()).unwrap();
            bytes.extend(
                [&kind.to_le_bytes()[..], &len.to_le_bytes(), body, &len.to_le_bytes()].concat(),
            );
        };
        block(
            0x0a0d_0d0a,
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        block(6, &[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 7, 8, 9, 0]);
        bytes
    }

    #[test]
    fn pcapng_counts_time_as_its_interface_says() {
        let bytes = pcapng();
        let capture = Capture::read(&bytes);
        assert_eq!(capture.broken, None);
        assert_eq!(
            capture.packets,
            [Packet { time: (1 << 32) + 2, original: 8, data: &[7, 8, 9] }]
        );
    }

    #[test]
    fn foreign_files_are_named_so() {
        assert!(Capture::read(b"\x7fELF").broken.unwrap().what.contains("neither pcap nor pcapng"));
        assert!(Capture::read(b"").broken.unwrap().what.contains("empty"));
        let mut wifi = written(&[]);
        wifi[20] = 105;
        assert!(Capture::read(&wifi).broken.unwrap().what.contains("link type 105"));
    }

    #[test]
    fn no_capture_is_too_broken_to_be_read_to_where_it_breaks() {
        use bpf_tests::mutants::{Mutator, count};
        let originals = [written(&[(1, b"abc"), (2, &[7; 60]), (3, b"")]), pcapng()];
        let mut mutator = Mutator::new(7);
        let mut broken = 0;
        for n in 0..count() {
            let bytes = if n % 10 == 9 {
                mutator.noise(400)
            } else {
                mutator.mutant(&originals[n % originals.len()])
            };
            let capture = Capture::read(&bytes);
            broken += usize::from(capture.broken.is_some());
            if let Some(place) = &capture.broken {
                assert_eq!(place.packet, capture.packets.len() + 1);
                assert!(place.offset <= bytes.len());
            }
            assert!(capture.packets.iter().all(|packet| packet.data.len() <= bytes.len()));
        }
        assert!(broken > count() / 4, "{broken}");
    }
}
