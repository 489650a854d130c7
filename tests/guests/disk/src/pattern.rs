//! What pages hold: numbers that follow from where the page is and which round wrote it.

/// Fills a page as `round` writes the one with this number.
pub fn fill(page: &mut [u8; 4096], number: u64, round: u64) {
    let mut state = seed(number, round);
    for word in page.as_chunks_mut::<8>().0 {
        *word = state.to_le_bytes();
        state = next(state);
    }
}

/// Whether a page is as [`fill`] made it.
pub fn is_filled(page: &[u8; 4096], number: u64, round: u64) -> bool {
    let mut state = seed(number, round);
    page.as_chunks::<8>().0.iter().all(|word| {
        let same = *word == state.to_le_bytes();
        state = next(state);
        same
    })
}

fn seed(number: u64, round: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ round
}

fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}
