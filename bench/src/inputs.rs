//! What programs run on: their packets, and what is in their maps.

use bpf_abi::map::MapType;

/// The size of every packet.
const PACKET: usize = 1500;

/// Numbers that look random and are always the same.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// A byte of them.
    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// The packet of a program.
pub(crate) fn packet(program: &str) -> Vec<u8> {
    match program {
        "http" => text(REQUEST, REQUEST_REST),
        "json" => text(DOCUMENT, DOCUMENT_REST),
        "classify" => text("", PROSE),
        "dns" => query(),
        _ => headers(),
    }
}

/// Bytes that look random, twenty small headers among them, and one word to find.
pub(crate) fn headers() -> Vec<u8> {
    let mut numbers = Numbers(0x0123_4567);
    let mut bytes: Vec<u8> = (0..PACKET).map(|_| numbers.byte()).collect();
    for (n, header) in bytes.chunks_mut(64).take(20).enumerate() {
        let is_v6 = n % 7 == 3;
        let has_options = n % 5 == 4;
        header[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        header[14] = if has_options { 0x46 } else { 0x45 };
        header[22] = 64;
        header[23] = if n % 6 == 5 { 17 } else { 6 };
        if n % 3 == 0 {
            let ports = if has_options { 38 } else { 34 };
            header[ports + 2..ports + 4].copy_from_slice(&80u16.to_be_bytes());
        }
    }
    bytes[300..304].copy_from_slice(b"GET ");
    bytes
}

/// The first lines of a request, and one that comes again and again after them.
const REQUEST: &str = "GET /api/v1/accounts/4711/orders/list?page=3&size=50 HTTP/1.1\r\n\
    Host: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n";
const REQUEST_REST: &str = "X-Trace: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

/// The beginning of a document, and what comes again and again after it.
const DOCUMENT: &str = r#"{"version": 3, "session": {"started": "2024-05-01T12:00:00Z",
    "user_id": 8675309, "roles": ["admin", "ops"]}, "events": ["#;
const DOCUMENT_REST: &str =
    r#"{"kind": "click", "at": [412, 96], "label": "say \"yes\"", "user_id": 17, "ok": true}, "#;

/// A text.
const PROSE: &str =
    "The quick brown fox jumps over the lazy dog, 42 times; \"why?\" asks /usr/bin/dog. ";

fn text(first: &str, rest: &str) -> Vec<u8> {
    let bytes = first.bytes().chain(rest.bytes().cycle());
    bytes.take(PACKET).collect()
}

/// A DNS query of twelve names.
fn query() -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 12, 0, 0, 0, 0, 0, 0];
    for n in 0..12 {
        let labels = ["www", "Static-Content", "eu-west", "cdn", "example", "com"];
        for label in labels.iter().skip(n % 3) {
            bytes.extend(u8::try_from(label.len()));
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
    }
    bytes.resize(PACKET, 0);
    bytes
}

/// The shape of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) name: &'a str,
    pub(crate) map_type: MapType,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
}

/// What is in a map before a run; programs that count for each CPU depend on nothing in there.
pub(crate) fn entries(map: Shape<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    if map.map_type == MapType::Array {
        let entry = |key: u32| (key.to_le_bytes().to_vec(), element(map.name, key, map.value_size));
        return (0..map.max_entries).map(entry).collect();
    }
    if map.map_type == MapType::LpmTrie { routes() } else { Vec::new() }
}

/// What is in an element of an array: zeros, but in the tables that are searched.
pub(crate) fn element(map: &str, key: u32, value_size: u32) -> Vec<u8> {
    let words = 0..value_size / 4;
    match map {
        "table" => words.flat_map(|i| (i * 1024 + (i * 37) % 1000).to_le_bytes()).collect(),
        "ring" => (key.wrapping_mul(0x9e37_79b1) >> 24).to_le_bytes().to_vec(),
        "backends" | "filter" => {
            let mut numbers = Numbers(key);
            (0..value_size).map(|_| numbers.byte()).collect()
        }
        "automaton" => {
            let mut numbers = Numbers(1);
            (0..value_size).map(|_| numbers.byte() & 15).collect()
        }
        _ => vec![0; value_size as usize],
    }
}

/// Routes of all lengths: many to networks that packets are for, so that some are in others.
fn routes() -> Vec<(Vec<u8>, Vec<u8>)> {
    let packet = headers();
    let mut numbers = Numbers(7);
    let mut routes = Vec::new();
    for n in 0..600u32 {
        let length = 4 + numbers.next() % 29;
        let mut address = u32::from_be_bytes(numbers.next().to_be_bytes());
        if n % 4 == 0 {
            let at = (n as usize / 4 % 20) * 64 + 30;
            address = packet[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        }
        let address = address & (u32::MAX << (32 - length));
        let key = [length.to_le_bytes(), address.to_be_bytes()].concat();
        routes.push((key, n.to_le_bytes().to_vec()));
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        let bytes = element("table", 0, 4096);
        let words: Vec<u32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        assert!(words.is_sorted() && words.len() == 1024);
    }

    #[test]
    fn all_packets_are_as_long() {
        for program in ["http", "json", "classify", "dns", "nat"] {
            assert_eq!(packet(program).len(), PACKET, "{program}");
        }
    }
}
