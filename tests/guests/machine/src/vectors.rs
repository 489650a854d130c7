//! The wide registers.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _mm256_loadu_si256, _mm256_mullo_epi32, _mm256_storeu_si256};
use core::hint::black_box;

use mirage_rt::Duration;

/// Says what the processor protects, and whether AVX2 computes and its registers outlive a sleep.
pub async fn look() {
    let control: u64;
    // SAFETY: images run in ring 0, where CR4 can be read.
    unsafe { asm!("mov {}, cr4", out(reg) control, options(nomem, nostack, preserves_flags)) };
    let leaf = __cpuid_count(7, 0);
    for (name, present, bit) in
        [("SMEP", leaf.ebx & 1 << 7, 20), ("SMAP", leaf.ebx & 1 << 20, 21), ("UMIP", leaf.ecx & 1 << 2, 11)]
    {
        let word = match (present != 0, control & 1 << bit != 0) {
            (true, true) => "on",
            (false, false) => "absent",
            _ => "not as the processor has it",
        };
        mirage_rt::println!("{name} is {word}");
    }
    let leaf_1 = __cpuid_count(1, 0).ecx;
    if leaf_1 & 1 << 28 == 0 || leaf.ebx & 1 << 5 == 0 {
        mirage_rt::println!("AVX2 is absent");
        return;
    }
    mirage_rt::println!("OSXSAVE is {}", if leaf_1 & 1 << 27 != 0 { "on" } else { "off" });
    let mut lost = 0;
    for round in 1..=3 {
        let numbers: [i32; 8] = core::array::from_fn(|index| index as i32 * 1000 + round);
        // SAFETY: OSXSAVE is set, so XCR0 can be read.
        if unsafe { state_components() } & 6 != 6 {
            // An emulator that does not tell Xen of XSETBV: Xen has set its own value when it came back to this domain.
            lost += 1;
            // SAFETY: the processor has AVX, so this is a valid set.
            unsafe { asm!("xsetbv", in("ecx") 0, in("eax") 7, in("edx") 0, options(nomem, nostack, preserves_flags)) };
        }
        // SAFETY: the processor has AVX2, and it is on.
        let squares = unsafe { squares(black_box(&numbers)) };
        assert_eq!(squares, numbers.map(|number| number * number));
        mirage_rt::sleep(Duration::from_millis(20)).await;
    }
    mirage_rt::println!("AVX2 computes; XCR0 was lost {lost} times");
}

/// XCR0.
///
/// # Safety
///
/// OSXSAVE is set.
unsafe fn state_components() -> u32 {
    let components: u32;
    // SAFETY: promised by the caller.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") components, out("edx") _, options(nomem, nostack, preserves_flags))
    };
    components
}

#[target_feature(enable = "avx2")]
fn squares(numbers: &[i32; 8]) -> [i32; 8] {
    let mut squares = [0; 8];
    // SAFETY: both arrays have 32 bytes.
    unsafe {
        let loaded = _mm256_loadu_si256(numbers.as_ptr().cast());
        _mm256_storeu_si256(squares.as_mut_ptr().cast(), _mm256_mullo_epi32(loaded, loaded));
    }
    squares
}
