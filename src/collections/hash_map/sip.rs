//! SipHash-1-3 (Aumasson and Bernstein, 2012): a hash that nobody can aim at without its key.
//!
//! Over a byte string that is there as a whole it needs no buffer, and for keys of a few words little more than its rounds.

#![forbid(unsafe_code)]

/// The four words of its state.
struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn new([low, high]: [u64; 2]) -> Self {
        Self([
            low ^ 0x736F_6D65_7073_6575,
            high ^ 0x646F_7261_6E64_6F6D,
            low ^ 0x6C79_6765_6E65_7261,
            high ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline(always)]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *d = d.rotate_left(21) ^ *a;
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    #[inline(always)]
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }
}

/// The hash of a byte string under a key.
#[inline]
pub(super) fn hash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = State::new(key);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.take(u64::from_le_bytes(*word));
    }
    let mut last = (bytes.len() as u64) << 56;
    for (i, byte) in rest.iter().enumerate() {
        last |= u64::from(*byte) << (8 * i);
    }
    state.take(last);
    state.0[2] ^= 0xFF;
    for _ in 0..3 {
        state.round();
    }
    let [a, b, c, d] = state.0;
    a ^ b ^ c ^ d
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip::SipHasher13;

    #[test]
    fn it_is_what_others_compute() {
        let bytes: Vec<u8> = (0..200u32).map(|i| ((i * 37) >> 2) as u8).collect();
        for len in 0..bytes.len() {
            for key in [[0, 0], [1, 2], [u64::MAX, 0x0123_4567_89AB_CDEF]] {
                let expected = SipHasher13::new_with_keys(key[0], key[1]).hash(&bytes[..len]);
                assert_eq!(hash(key, &bytes[..len]), expected, "{len} bytes");
            }
        }
    }
}
