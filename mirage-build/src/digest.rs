//! A digest of embedded content.

/// FNV-1a with 128 bits.
///
/// It tells changed content from unchanged (entity tags); it is no protection against somebody who may choose the
/// content, who here is the application's own author.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u128);

const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Digest {
    pub(crate) fn new() -> Self {
        Digest(OFFSET_BASIS)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }

    pub(crate) fn value(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> u128 {
        let mut digest = Digest::new();
        digest.update(bytes);
        digest.value()
    }

    #[test]
    fn published_vectors() {
        // From the FNV authors' test suite for fnv1a_128.
        assert_eq!(digest(b""), 0x6c62272e07bb014262b821756295c58d);
        assert_eq!(digest(b"a"), 0xd228cb696f1a8caf78912b704e4a8964);
        assert_eq!(digest(b"foobar"), 0x343e1662793c64bf6f0d3597ba446f18);
    }
}
