//! The image's memory functions, assembled under other names so that they stand beside the host's.
#![cfg(target_arch = "x86_64")]

core::arch::global_asm!(
    ".macro FUNCTION name",
    ".global mirage_test_\\name",
    "mirage_test_\\name:",
    ".endm",
    include_str!("../src/memory.s")
);

unsafe extern "C" {
    fn mirage_test_memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8;
    fn mirage_test_memmove(to: *mut u8, from: *const u8, size: usize) -> *mut u8;
    fn mirage_test_memset(to: *mut u8, byte: i32, size: usize) -> *mut u8;
    fn mirage_test_memcmp(a: *const u8, b: *const u8, size: usize) -> i32;
    fn mirage_test_bcmp(a: *const u8, b: *const u8, size: usize) -> i32;
    fn mirage_test_strlen(text: *const u8) -> usize;
}

/// Every size up to several rounds of the loops, and some on both sides of where the string instructions begin.
fn sizes() -> impl Iterator<Item = usize> {
    (0..200).chain([511, 512, 1460, 2047, 2048, 2055, 4096, 16_383, 16_384, 16_385, 16_391, 40_000])
}

/// Bytes that differ from their neighbours and from zero.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251) as u8 + 1).collect()
}

const MARGIN: usize = 64;

#[test]
fn copies_are_exact_and_touch_nothing_else() {
    for size in sizes() {
        for shift in [0, 1, 7, 15] {
            let from = pattern(size + shift);
            let mut to = vec![0; MARGIN + size + MARGIN];
            let start = to[MARGIN..].as_mut_ptr();
            // SAFETY: both ranges are in their vectors, which do not overlap.
            let returned = unsafe { mirage_test_memcpy(start, from[shift..].as_ptr(), size) };
            assert_eq!(returned, start);
            assert_eq!(to[MARGIN..MARGIN + size], from[shift..], "size {size} shift {shift}");
            assert!(to[..MARGIN].iter().chain(&to[MARGIN + size..]).all(|&byte| byte == 0), "size {size}");
        }
    }
}

#[test]
fn moves_survive_every_overlap() {
    for size in sizes() {
        for distance in [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 100] {
            for up in [false, true] {
                let mut memory = pattern(size + distance);
                let (from, to) = if up { (0, distance) } else { (distance, 0) };
                let mut expected = memory.clone();
                expected.copy_within(from..from + size, to);
                let base = memory.as_mut_ptr();
                // SAFETY: both ranges are in the vector.
                let returned = unsafe { mirage_test_memmove(base.add(to), base.add(from), size) };
                assert_eq!(returned, base.wrapping_add(to));
                assert!(memory == expected, "size {size} distance {distance} up {up}");
            }
        }
    }
}

#[test]
fn sets_are_exact_and_touch_nothing_else() {
    for size in sizes() {
        for byte in [0, 1, 0x80, 0xFF, 0x1234] {
            let mut memory = vec![0x55; MARGIN + size + MARGIN];
            let start = memory[MARGIN..].as_mut_ptr();
            // SAFETY: the range is in the vector.
            let returned = unsafe { mirage_test_memset(start, byte, size) };
            assert_eq!(returned, start);
            assert!(memory[MARGIN..MARGIN + size].iter().all(|&set| set == byte as u8), "size {size} byte {byte}");
            assert!(memory[..MARGIN].iter().chain(&memory[MARGIN + size..]).all(|&byte| byte == 0x55), "size {size}");
        }
    }
}

#[test]
fn comparisons_agree_with_those_of_slices() {
    for size in (0..100).chain([1000]) {
        let a = pattern(size);
        for at in (0..size).step_by(1 + size / 50) {
            for value in [0, 0x7F, 0x80, 0xFF] {
                let mut b = a.clone();
                b[at] = value;
                // A difference behind the first one must not count.
                if let Some(last) = b.last_mut().filter(|_| at + 1 < size) {
                    *last = last.wrapping_add(1);
                }
                // SAFETY: both ranges are the vectors.
                let (order, differs) = unsafe {
                    (mirage_test_memcmp(a.as_ptr(), b.as_ptr(), size), mirage_test_bcmp(a.as_ptr(), b.as_ptr(), size))
                };
                assert_eq!(order.cmp(&0), a.cmp(&b), "size {size} at {at} value {value}");
                assert_eq!(differs != 0, a != b);
            }
        }
        // SAFETY: as above.
        assert_eq!(unsafe { mirage_test_memcmp(a.as_ptr(), a.clone().as_ptr(), size) }, 0);
    }
}

#[test]
fn texts_end_at_the_first_zero() {
    for length in 0..100 {
        let mut text = pattern(length);
        text.extend([0, b'x', 0]);
        // SAFETY: the text has an end.
        assert_eq!(unsafe { mirage_test_strlen(text.as_ptr()) }, length);
    }
}
