//! From the assembly into Rust.

use core::cell::UnsafeCell;

use mirage_rt::boot::Unikernel;
use mirage_xen::boot::Image;
use mirage_xen::memory::ImageLayout;
use mirage_xen::traps::TrapFrame;

/// Bytes of the first stack. It has no guard, but boot needs less than half of it even when nothing is optimised.
pub(crate) const EARLY_STACK: usize = 48 * 1024;

/// Bytes of the stack of the exception handlers.
pub(crate) const TRAP_STACK: usize = 12 * 1024;

/// Bytes of a build id note in front of the id: three sizes and the name "GNU".
const BUILD_ID_HEADER: usize = 16;

unsafe extern "C" {
    static __mirage_text_start: u8;
    static __mirage_text_end: u8;
    static __mirage_rodata_start: u8;
    static __mirage_rodata_end: u8;
    static __mirage_data_start: u8;
    static __mirage_image_end: u8;
    static __mirage_build_id_start: u8;
    static __mirage_build_id_end: u8;
    static _mirage_early_start: u8;
    static _mirage_early_end: u8;
    static _mirage_descriptors: u8;
    static _mirage_trap_stack_end: u8;
    static _mirage_trap_entries: u8;
    static _mirage_wake: u8;
    static _mirage_entry_ticks: u64;

    safe fn _mirage_halt();

    // From the macro `entry`.
    safe fn _mirage_main(argument: u64) -> !;
}

unsafe extern "Rust" {
    // From the macro `entry`.
    static _mirage_unikernel: &'static Unikernel;
}

/// Where a symbol of the linker is.
fn address(symbol: *const u8) -> u64 {
    symbol.expose_provenance() as u64
}

/// The image describes itself once; boot keeps it for ever.
static IMAGE: Described = Described(UnsafeCell::new(None));

struct Described(UnsafeCell<Option<Image>>);

// SAFETY: an image has one thread.
unsafe impl Sync for Described {}

fn describe() -> Image {
    let range = |start: *const u8, end: *const u8| address(start)..address(end);
    let layout = ImageLayout {
        text: range(&raw const __mirage_text_start, &raw const __mirage_text_end),
        rodata: range(&raw const __mirage_rodata_start, &raw const __mirage_rodata_end),
        data: range(&raw const __mirage_data_start, &raw const __mirage_image_end),
    };
    let note = range(&raw const __mirage_build_id_start, &raw const __mirage_build_id_end);
    let length = ((note.end - note.start) as usize).saturating_sub(BUILD_ID_HEADER);
    let id = (&raw const __mirage_build_id_start).wrapping_add(BUILD_ID_HEADER);
    Image {
        // SAFETY: the macro `entry` defines it so.
        name: unsafe { _mirage_unikernel }.name,
        layout,
        early: range(&raw const _mirage_early_start, &raw const _mirage_early_end),
        descriptors: address(&raw const _mirage_descriptors),
        trap_stack_end: address(&raw const _mirage_trap_stack_end),
        trap_entries: address(&raw const _mirage_trap_entries),
        wake: address(&raw const _mirage_wake),
        halt: _mirage_halt,
        // SAFETY: the entry code has written it.
        entry_ticks: unsafe { _mirage_entry_ticks },
        // SAFETY: the linker put a note between the two symbols, or nothing; then the length is 0.
        build_id: if length == 0 { &[] } else { unsafe { core::slice::from_raw_parts(id, length) } },
        main: _mirage_main,
    }
}

/// Called by the entry code, once, on the first stack.
// SAFETY: the one definition of this name; the assembly calls it as it is declared.
#[unsafe(no_mangle)]
extern "C" fn _mirage_start(start_info: u64) -> ! {
    // SAFETY: this is the one call, and nobody else knows the place.
    let image = unsafe { (*IMAGE.0.get()).insert(describe()) };
    // SAFETY: this is the one call, by the entry code, which has mapped the first 4 GiB and left interrupts off. The
    // description is made of the linker's own symbols.
    unsafe { mirage_xen::boot::start(image, start_info) }
}

/// Called by the exception entries.
// SAFETY: as for `_mirage_start`.
#[unsafe(no_mangle)]
extern "C" fn _mirage_trap(frame: &TrapFrame) -> ! {
    mirage_xen::traps::fault(frame)
}
