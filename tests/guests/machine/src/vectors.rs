//! The wide registers.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

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
        // What is said above has woken dom0, which may take the processor at any moment.
        mirage_rt::sleep(Duration::from_millis(20)).await;
        let numbers: [i32; 8] = core::array::from_fn(|index| index as i32 * 1000 + round);
        // SAFETY: the processor has AVX2, and OSXSAVE is set.
        let (squares, times) = unsafe { squares(&numbers) };
        assert_eq!(squares, numbers.map(|number| number * number));
        lost += times;
    }
    mirage_rt::println!("AVX2 computes; XCR0 was lost {lost} times");
}

/// The squares, computed by AVX2, and how often its registers were off.
///
/// An emulator that does not tell Xen of XSETBV has Xen set its own XCR0 whenever it comes back to this domain, which can
/// be between any two instructions. So the look at XCR0 and the first use of a wide register are as close together as
/// they can be; what comes between them is one branch.
///
/// # Safety
///
/// The processor has AVX2, and OSXSAVE is set.
unsafe fn squares(numbers: &[i32; 8]) -> ([i32; 8], u32) {
    let mut squares = [0; 8];
    let mut lost: u32 = 0;
    // SAFETY: both arrays have 32 bytes, the registers are named, and 7 is a valid XCR0 of a processor with AVX; the rest
    // is promised by the caller.
    unsafe {
        asm!(
            "2:",
            "xor ecx, ecx",
            "xgetbv",
            "and eax, 6",
            "cmp eax, 6",
            "je 3f",
            "inc {lost:e}",
            "mov eax, 7",
            "xor edx, edx",
            "xsetbv",
            "jmp 2b",
            "3:",
            "vmovdqu ymm0, [{numbers}]",
            "vpmulld ymm0, ymm0, ymm0",
            "vmovdqu [{squares}], ymm0",
            "vzeroupper",
            numbers = in(reg) numbers.as_ptr(),
            squares = in(reg) squares.as_mut_ptr(),
            lost = inout(reg) lost,
            out("eax") _,
            out("ecx") _,
            out("edx") _,
            out("xmm0") _,
            options(nostack),
        );
    }
    (squares, lost)
}
