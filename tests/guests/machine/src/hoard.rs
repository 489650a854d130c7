//! Using up memory.

use alloc::vec::Vec;
use core::hint::black_box;

use mirage_xen::memory::machine::Memory;

/// Writes to as much memory as can be had; returns how much.
pub fn hoard() -> usize {
    const PIECE: usize = 128 * 1024;
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(1 << 16);
    while Memory::machine().is_some_and(|memory| memory.free_frames() > 64) {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            break;
        }
        piece.resize(PIECE, 0xAA);
        kept.push(black_box(piece));
    }
    kept.len() * PIECE
}
