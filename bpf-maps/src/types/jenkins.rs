//! Bob Jenkins' hash `lookup3`, as Linux computes it of keys and values. Linux: `jhash`, `jhash2`.

/// What the three sums begin with, besides the length and the seed.
const INITIAL: u32 = 0xdead_beef;

/// The hash of some bytes. Linux takes bytes that fill words as words, which gives the same.
pub(super) fn hash(seed: u32, bytes: &[u8]) -> u32 {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut sums = [INITIAL.wrapping_add(len).wrapping_add(seed); 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        let (first, behind) = rest.split_at(12);
        add(&mut sums, first);
        mix(&mut sums);
        rest = behind;
    }
    if !rest.is_empty() {
        add(&mut sums, rest);
        finish(&mut sums);
    }
    sums[2]
}

/// Adds up to twelve bytes, a word to each sum; those that are missing count as zero.
fn add(sums: &mut [u32; 3], bytes: &[u8]) {
    for (sum, word) in sums.iter_mut().zip(bytes.chunks(4)) {
        let mut whole = [0; 4];
        whole[..word.len()].copy_from_slice(word);
        *sum = sum.wrapping_add(u32::from_le_bytes(whole));
    }
}

/// Has each bit of the sums change the others; what is lost can be computed back.
fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: u32, by: u32| {
        *x = x.wrapping_sub(*y) ^ y.rotate_left(by);
        *y = y.wrapping_add(z);
    };
    for (one, two, three) in [(4, 6, 8), (16, 19, 4)] {
        step(a, c, *b, one);
        step(b, a, *c, two);
        step(c, b, *a, three);
    }
}

/// Has each bit of the sums change the last sum.
fn finish([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: u32, by: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(by));
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}
